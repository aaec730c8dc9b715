import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { BerthError } from '../../process/errors.ts';
import { run } from '../../hack/command.ts';
import type { Ledger } from './ledger.ts';
import { Part } from './part.ts';
import type { Authority } from './pki.ts';
import type { TokenServer } from './token-server.ts';

export interface RegistryOptions {
  readonly ledger: Ledger;
  readonly program: string;
  readonly port: number;
  /** Part name and directory; several registries may run. */
  readonly name?: string;
  /** Name of another registry whose storage it serves. Default: it has its own. */
  readonly storageOf?: string;
  /** Serve https with a certificate of this authority. Default: plain http. */
  readonly tls?: Authority;
  /** Ask for a name and password (Basic). Default: open. */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** Ask for tokens of this server (Bearer). Default: do not. */
  readonly tokens?: Pick<TokenServer, 'realm' | 'service' | 'issuer' | 'caFile'>;
}

/** A docker-registry process. Deletion is on; every request is a line of the access log. */
export class Registry extends Part {
  /** host:port, the first part of image names. */
  readonly address: string;
  readonly scheme: 'http' | 'https';
  readonly ca: string | undefined;
  readonly credentials: RegistryOptions['credentials'];

  private constructor(options: RegistryOptions, directory: string) {
    const name = options.name ?? 'registry';
    const { dataDir } = options.ledger.content;
    super({
      name,
      ledger: options.ledger,
      logFile: join(dataDir, 'logs', `${name}.log`),
      accessLogFile: join(dataDir, 'logs', `${name}.access.log`),
      command: () => ({
        file: options.program,
        args: ['serve', join(directory, 'config.yml')],
        inputs: [readFileSync(join(directory, 'config.yml'), 'utf8')],
      }),
      probe: () => this.#probe(),
    });
    this.address = `127.0.0.1:${options.port}`;
    this.scheme = options.tls === undefined ? 'http' : 'https';
    this.ca = options.tls === undefined ? undefined : readFileSync(options.tls.caFile, 'utf8');
    this.credentials = options.credentials;
  }

  /** Writes the configuration; nothing is started. */
  static async create(options: RegistryOptions): Promise<Registry> {
    const directory = join(options.ledger.content.dataDir, options.name ?? 'registry');
    await mkdir(join(directory, 'storage'), { recursive: true });
    const registry = new Registry(options, directory);
    await writeFile(join(directory, 'config.yml'), JSON.stringify(await configuration(options, directory, registry.address), null, 2));
    return registry;
  }

  /** The URL of the registry. */
  get url(): string {
    return `${this.scheme}://${this.address}`;
  }

  /** The lines of the access log so far: who asked for what. */
  accessLog(): readonly string[] {
    const path = this.accessLogFile ?? '';
    return existsSync(path)
      ? readFileSync(path, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
      : [];
  }

  async #probe(): Promise<void> {
    const dispatcher = new Agent(this.ca === undefined ? {} : { connect: { ca: this.ca } });
    try {
      const { statusCode, body } = await request(`${this.url}/v2/`, { dispatcher, headersTimeout: 2_000 });
      await body.dump();
      if (statusCode !== 200 && statusCode !== 401) throw new BerthError('NotReady', `${this.url}/v2/: ${statusCode}`);
    } finally {
      await dispatcher.destroy();
    }
  }
}

async function configuration(
  { ledger, tls, credentials, tokens, name = 'registry', storageOf = name }: RegistryOptions,
  directory: string,
  address: string,
): Promise<object> {
  const served = tls === undefined ? undefined : await tls.issue(name, name, ['127.0.0.1', 'localhost']);
  const passwords = join(directory, 'htpasswd');
  if (credentials !== undefined)
    await writeFile(passwords, `${credentials.username}:${await bcrypt(credentials.password)}\n`, { mode: 0o600 });
  return {
    version: 0.1,
    log: { level: 'warn', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(ledger.content.dataDir, storageOf, 'storage') },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: { addr: address, secret: 'harness', ...(served === undefined ? {} : { tls: { certificate: served.cert, key: served.key } }) },
    ...(credentials === undefined ? {} : { auth: { htpasswd: { realm: name, path: passwords } } }),
    ...(tokens === undefined
      ? {}
      : { auth: { token: { realm: tokens.realm, service: tokens.service, issuer: tokens.issuer, rootcertbundle: tokens.caFile } } }),
  };
}

/** The only hash that docker-registry accepts; Node has no bcrypt, the C library that perl uses has. */
async function bcrypt(password: string): Promise<string> {
  const salt = randomBytes(16)
    .toString('base64')
    .replace(/[^A-Za-z0-9]/g, 'x')
    .slice(0, 21);
  return run('perl', ['-e', 'print crypt($ARGV[0], $ARGV[1])', password, `$2y$05$${salt}u`]);
}
