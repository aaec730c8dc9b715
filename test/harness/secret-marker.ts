/** Every password and secret value of the tests begins so: what the suites have written is searched for it, and for tokens. */
export const secretMarker = 'zQ7-secret-';

/** A ServiceAccount token, by its head. */
const token = /eyJhbGciOi[\w-]{10,}\.[\w-]{20,}/;

/** Whether a text holds a secret of the tests or a token. */
export function holdsSecret(text: string): boolean {
  return text.includes(secretMarker) || token.test(text);
}
