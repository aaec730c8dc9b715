import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../hack/command.ts';

/** A private certificate authority in a directory, made with openssl(1). What exists is kept. */
export class Authority {
  readonly caFile: string;
  readonly #directory: string;
  readonly #openssl: string;

  private constructor(directory: string, openssl: string) {
    this.#directory = directory;
    this.#openssl = openssl;
    this.caFile = join(directory, 'ca.crt');
  }

  static async open(directory: string, openssl: string): Promise<Authority> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const authority = new Authority(directory, openssl);
    if (!existsSync(authority.caFile)) await authority.#create();
    return authority;
  }

  /** A serving and client certificate; `names` are DNS names and IP addresses. */
  async issue(name: string, commonName: string, names: readonly string[]): Promise<{ readonly cert: string; readonly key: string }> {
    const [cert, key] = [join(this.#directory, `${name}.crt`), join(this.#directory, `${name}.key`)];
    if (existsSync(cert)) return { cert, key };
    const [request, extensions] = [join(this.#directory, `${name}.csr`), join(this.#directory, `${name}.ext`)];
    const alternatives = names.map((text) => (/^[\d.]+$|:/.test(text) ? `IP:${text}` : `DNS:${text}`)).join(',');
    await writeFile(extensions, `keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=${alternatives}\n`);
    await this.#newKey(key);
    await run(this.#openssl, ['req', '-new', '-key', key, '-subj', `/CN=${commonName}`, '-out', request]);
    const signing = ['-CA', this.caFile, '-CAkey', this.#caKey, '-CAcreateserial', '-days', '3650', '-extfile', extensions];
    await run(this.#openssl, ['x509', '-req', '-in', request, ...signing, '-out', `${cert}.new`]);
    await run('mv', [`${cert}.new`, cert]);
    await Promise.all([rm(request), rm(extensions)]);
    return { cert, key };
  }

  /** The key pair that signs ServiceAccount tokens. */
  async serviceAccountKey(): Promise<string> {
    const key = join(this.#directory, 'service-accounts.key');
    if (!existsSync(key)) await this.#newKey(key);
    return key;
  }

  get #caKey(): string {
    return join(this.#directory, 'ca.key');
  }

  async #create(): Promise<void> {
    await this.#newKey(this.#caKey);
    const subject = ['-subj', '/CN=berth-local-ca', '-days', '3650'];
    await run(this.#openssl, ['req', '-x509', '-new', '-key', this.#caKey, ...subject, '-out', this.caFile]);
  }

  async #newKey(path: string): Promise<void> {
    await run(this.#openssl, ['ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', path]);
  }
}
