import { Agent, request } from 'undici';
import { BerthError } from '../../process/errors.ts';

/** A Kubernetes object as it is sent and received. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
}

/** URL segment of each kind that the harness applies. Kinds not listed are their lower-case name with an s. */
const plurals: Readonly<Record<string, string>> = {
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
  MutatingAdmissionPolicy: 'mutatingadmissionpolicies',
  Sandbox: 'sandboxes',
};
const clusterScoped = new Set([
  'Namespace',
  'Node',
  'ClusterRole',
  'ClusterRoleBinding',
  'CustomResourceDefinition',
  'Runner',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionPolicyBinding',
  'MutatingAdmissionPolicy',
  'MutatingAdmissionPolicyBinding',
]);

export interface ApiAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** The few calls that the harness itself makes to a kube-apiserver. The product's own client is not used, so that it is not its own witness. */
export class KubeApi {
  readonly server: string;
  readonly #agent: Agent;
  readonly #ca: string;
  readonly #token: string;

  constructor(server: string, ca: string, token: string) {
    this.server = server;
    this.#ca = ca;
    this.#token = token;
    this.#agent = new Agent({ connect: { ca }, connections: 8, keepAliveTimeout: 5_000 });
  }

  /** The same server as another caller. */
  as(token: string): KubeApi {
    return new KubeApi(this.server, this.#ca, token);
  }

  /** One request; any HTTP status is an answer. */
  async call(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
    contentType = 'application/json',
  ): Promise<ApiAnswer> {
    const response = await request(`${this.server}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': contentType, accept: 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.body.text();
    return { status: response.statusCode, body: parse(text) };
  }

  /** As `call`. @throws BerthError `ApiRefused` with the server's message unless the status is 2xx. */
  async ok(
    method: Parameters<KubeApi['call']>[0],
    path: string,
    body?: unknown,
    contentType?: string,
  ): Promise<Readonly<Record<string, unknown>>> {
    const answer = await this.call(method, path, body, contentType);
    if (answer.status >= 300) throw refused(method, path, answer);
    return answer.body;
  }

  /** Server-side apply with force. */
  async apply(object: KubeObject): Promise<Readonly<Record<string, unknown>>> {
    return this.ok('PATCH', `${pathOf(object)}?fieldManager=berth-harness&force=true`, object, 'application/apply-patch+yaml');
  }

  async get(object: KubeObject): Promise<ApiAnswer> {
    return this.call('GET', pathOf(object));
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

/** The URL path of an object. */
export function pathOf({ apiVersion, kind, metadata }: KubeObject): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const scope = clusterScoped.has(kind) ? '' : `/namespaces/${metadata.namespace ?? 'default'}`;
  return `${root}${scope}/${plurals[kind] ?? `${kind.toLowerCase()}s`}/${metadata.name}`;
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch {
    return { message: text };
  }
}

function refused(method: string, path: string, { status, body }: ApiAnswer): BerthError {
  return new BerthError('ApiRefused', `${method} ${path}: ${status} ${typeof body.message === 'string' ? body.message : ''}`, {
    details: { status, body },
  });
}
