import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Authority } from './pki.ts';

export interface TokenAccount {
  readonly username: string;
  readonly password: string;
  /** Repositories below this path may be pulled from, pushed to and deleted from. */
  readonly below: string;
}

/** Issues bearer tokens for a docker-registry, over TLS: what is asked for is granted to who says a known name and password, below its own path. */
export class TokenServer {
  readonly service = 'berth-registry';
  readonly issuer = 'berth-tokens';
  readonly realm: string;
  /** What the registry trusts tokens by. */
  readonly caFile: string;
  /** How many tokens were asked for, by name; the empty name has none. */
  readonly asked: string[] = [];
  readonly #server: Server;

  private constructor(server: Server, caFile: string) {
    this.#server = server;
    this.caFile = caFile;
    this.realm = `https://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  }

  static async start(authority: Authority, accounts: readonly TokenAccount[], expiresIn = 300): Promise<TokenServer> {
    const { cert, key } = await authority.issue('tokens', 'berth-tokens', ['127.0.0.1', 'localhost']);
    const [certificate, privateKey] = [readFileSync(cert), readFileSync(key)];
    const server = createServer({ cert: certificate, key: privateKey });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const tokens = new TokenServer(server, authority.caFile);
    const x5c = [new X509Certificate(certificate).raw.toString('base64')];
    server.on('request', (request, response) => {
      const url = new URL(request.url ?? '/', tokens.realm);
      const account = accounts.find(({ username, password }) => request.headers.authorization === basic(username, password));
      tokens.asked.push(account?.username ?? '');
      if (account === undefined) {
        response.writeHead(401).end();
        return;
      }
      const access = url.searchParams.getAll('scope').flatMap((scope) => granted(scope, account));
      const now = Math.floor(Date.now() / 1000);
      const claims = {
        ...{ iss: tokens.issuer, sub: account.username, aud: tokens.service, jti: randomUUID(), access },
        ...{ iat: now, nbf: now - 60, exp: now + expiresIn },
      };
      const token = jwt({ typ: 'JWT', alg: 'ES256', x5c }, claims, privateKey);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token, expires_in: expiresIn }));
    });
    return tokens;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

function granted(scope: string, { below }: TokenAccount): readonly object[] {
  const [type, name = '', actions = ''] = scope.split(':');
  return name === below || name.startsWith(`${below}/`) ? [{ type, name, actions: actions.split(',') }] : [];
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function jwt(header: object, claims: object, key: Buffer): string {
  const body = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  const signature = sign('sha256', Buffer.from(body), { key: createPrivateKey(key), dsaEncoding: 'ieee-p1363' });
  return `${body}.${signature.toString('base64url')}`;
}
