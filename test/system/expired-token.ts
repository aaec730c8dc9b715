import { createPrivateKey, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** The same token as one that expired an hour ago: signed with the key of the API server. */
export async function expired(token: string, keyFile: string): Promise<string> {
  const [header = '', payload = ''] = token.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Readonly<Record<string, unknown>>;
  const anHourAgo = Math.floor(Date.now() / 1000) - 3_600;
  const old = { ...claims, iat: anHourAgo - 3_600, nbf: anHourAgo - 3_600, exp: anHourAgo };
  const signed = `${header}.${Buffer.from(JSON.stringify(old)).toString('base64url')}`;
  const key = createPrivateKey(await readFile(keyFile));
  return `${signed}.${sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}
