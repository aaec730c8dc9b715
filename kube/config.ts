import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { dirname, resolve } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import type { User } from '@kubernetes/client-node';
import { parse } from 'yaml';
import type { Clock } from '../process/clock.ts';
import { BerthError, messageOf } from '../process/errors.ts';
import type { Credentials, KubeConnection, TlsSettings } from './connection.ts';

export interface ConnectionOptions {
  /** Path of a kubeconfig. Default: the pod's service account, else `KUBECONFIG`, else `~/.kube/config`. */
  readonly kubeconfig?: string | undefined;
  /** Default the current context of the kubeconfig. */
  readonly context?: string | undefined;
  readonly clock: Clock;
  /** Credentials are read again when they are older than this. Default 10,000 ms. */
  readonly refreshMs?: number;
}

/**
 * Loads the configuration of the API server's client: kubeconfig with certificates, tokens, token files, exec plugins and OIDC, or the
 * service account of the pod. Throws `KubeConfigInvalid`.
 */
export async function loadConnection(options: ConnectionOptions): Promise<KubeConnection> {
  const config = new KubeConfig();
  try {
    load(config, options);
  } catch (cause) {
    throw new BerthError('KubeConfigInvalid', `The kubeconfig ${options.kubeconfig ?? ''} cannot be used: ${messageOf(cause)}.`, { cause });
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    const where =
      options.kubeconfig === undefined ? 'no kubeconfig and no service account was found' : `${options.kubeconfig} names no cluster`;
    throw new BerthError('KubeConfigInvalid', `There is no API server to connect to: ${where}. Name a kubeconfig or its context.`);
  }
  if (cluster.proxyUrl !== undefined) {
    throw new BerthError(
      'KubeConfigInvalid',
      `The kubeconfig reaches ${cluster.server} through a proxy, which is not supported: connect directly.`,
    );
  }
  const tokenFile = await takeTokenFile(config, options.kubeconfig);
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace;
  return new CachedConnection(
    config,
    cluster.server,
    namespace === undefined || namespace === '' ? 'default' : namespace.trim(),
    tokenFile,
    options,
  );
}

const serviceAccountToken = '/var/run/secrets/kubernetes.io/serviceaccount/token';

function load(config: KubeConfig, { kubeconfig, context }: ConnectionOptions): void {
  if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
  else if (existsSync(serviceAccountToken)) config.loadFromCluster();
  else config.loadFromDefault();
  if (context !== undefined) {
    if (config.getContextObject(context) === null) throw new Error(`it has no context ${context}`);
    config.setCurrentContext(context);
  }
}

/** The library reads a token file of a kubeconfig once, and one of a pod by the wall clock: both are read here instead. */
async function takeTokenFile(config: KubeConfig, kubeconfig: string | undefined): Promise<string | undefined> {
  const user = config.getCurrentUser();
  if (user === null) return undefined;
  const provider = user.authProvider as { readonly config?: { readonly tokenFile?: string } } | undefined;
  const tokenFile = provider?.config?.tokenFile ?? (kubeconfig === undefined ? undefined : await tokenFileOf(kubeconfig, user.name));
  if (tokenFile === undefined) return undefined;
  const withoutToken: User = { ...user, authProvider: null, token: '' };
  config.users = config.users.map((one) => (one === user ? withoutToken : one));
  return tokenFile;
}

interface UserEntry {
  readonly name?: string;
  readonly user?: { readonly tokenFile?: string; readonly token?: string };
}

async function tokenFileOf(kubeconfig: string, user: string): Promise<string | undefined> {
  const file = parse(await readFile(kubeconfig, 'utf8')) as { readonly users?: readonly UserEntry[] } | null;
  const entry = file?.users?.find(({ name }) => name === user)?.user;
  return entry?.tokenFile === undefined || entry.token !== undefined ? undefined : resolve(dirname(kubeconfig), entry.tokenFile);
}

class CachedConnection implements KubeConnection {
  readonly server: string;
  readonly namespace: string;
  readonly #config: KubeConfig;
  readonly #tokenFile: string | undefined;
  readonly #clock: Clock;
  readonly #refreshMs: number;
  #read: { readonly at: number; readonly credentials: Promise<Credentials> } | undefined;

  constructor(config: KubeConfig, server: string, namespace: string, tokenFile: string | undefined, options: ConnectionOptions) {
    this.#config = config;
    this.server = server.replace(/\/+$/, '');
    this.namespace = namespace;
    this.#tokenFile = tokenFile;
    this.#clock = options.clock;
    this.#refreshMs = options.refreshMs ?? 10_000;
  }

  credentials(): Promise<Credentials> {
    const now = this.#clock.monotonic();
    if (this.#read === undefined || now - this.#read.at >= this.#refreshMs) {
      const credentials = this.#load();
      this.#read = { at: now, credentials };
      credentials.catch(() => this.invalidate());
    }
    return this.#read.credentials;
  }

  invalidate(): void {
    this.#read = undefined;
  }

  async #load(): Promise<Credentials> {
    try {
      const options: RequestOptions & TlsSettings = {};
      await this.#config.applyToHTTPSOptions(options);
      const { ca, cert, key, servername, rejectUnauthorized } = options;
      return { headers: await this.#headers(options), tls: { ca, cert, key, servername, rejectUnauthorized } };
    } catch (cause) {
      throw new BerthError('CredentialsUnreadable', `The credentials for ${this.server} cannot be read: ${messageOf(cause)}.`, { cause });
    }
  }

  async #headers(options: RequestOptions): Promise<Readonly<Record<string, string>>> {
    const headers = Object.fromEntries(Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]));
    if (typeof options.auth === 'string') return { ...headers, authorization: `Basic ${Buffer.from(options.auth).toString('base64')}` };
    if (this.#tokenFile === undefined) return headers;
    return { ...headers, authorization: `Bearer ${(await readFile(this.#tokenFile, 'utf8')).trim()}` };
  }
}
