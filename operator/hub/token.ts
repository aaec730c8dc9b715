/** When a token expires, in milliseconds since the epoch, by its own claim; undefined when it says nothing. Its signature must have been checked. */
export function expiryOf(token: string): number | undefined {
  const [, payload = ''] = token.split('.');
  const exp = claimsOf(payload)?.exp;
  return typeof exp === 'number' ? exp * 1000 : undefined;
}

function claimsOf(payload: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null ? (claims as Readonly<Record<string, unknown>>) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
