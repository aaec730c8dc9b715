import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Cluster } from '../harness/cluster.ts';
import { operatorAudience } from '../harness/identity.ts';
import type { Operator } from '../harness/operator.ts';

export interface CurlAnswer {
  readonly status: number;
  /** By their names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of JSON its value, else the text. */
  readonly body: unknown;
}

/** Verbs by subresource of sandboxes. */
type Rules = Readonly<Record<string, readonly string[]>>;

/** All that the API has. */
export const everything: Rules = { reservations: ['*'], tasks: ['*'], fleet: ['*'] };

/** The token of a new ServiceAccount that may do this, in all namespaces or in one. */
export async function permittedToken(cluster: Cluster, name: string, rules: Rules, namespace?: string): Promise<string> {
  const metadata = namespace === undefined ? { name } : { name, namespace };
  const [role, binding] = namespace === undefined ? ['ClusterRole', 'ClusterRoleBinding'] : ['Role', 'RoleBinding'];
  const api = { apiGroup: 'rbac.authorization.k8s.io' };
  const objects = [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'berth-system' } },
    {
      ...{ apiVersion: `${api.apiGroup}/v1`, kind: role, metadata },
      rules: Object.entries(rules).map(([subresource, verbs]) => ({
        apiGroups: ['berth.dev'],
        resources: [`sandboxes/${subresource}`],
        verbs,
      })),
    },
    {
      ...{ apiVersion: `${api.apiGroup}/v1`, kind: binding, metadata, roleRef: { ...api, kind: role, name } },
      subjects: [{ kind: 'ServiceAccount', name, namespace: 'berth-system' }],
    },
  ];
  await cluster.kubectlWithInput(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }), 'apply', '-f', '-');
  return cluster.token({ serviceAccount: name, audience: operatorAudience });
}

/** Somebody with curl and a token. */
export class Caller {
  readonly #cluster: Cluster;
  readonly #token: string | undefined;

  constructor(cluster: Cluster, token: string | undefined) {
    this.#cluster = cluster;
    this.#token = token;
  }

  /** A ServiceAccount that may do this with subresources of sandboxes, in all namespaces or in one. */
  static async permitted(cluster: Cluster, name: string, rules: Rules, namespace?: string): Promise<Caller> {
    return new Caller(cluster, await permittedToken(cluster, name, rules, namespace));
  }

  /** One who may do everything that the API has. */
  static everything(cluster: Cluster, name = 'everything'): Promise<Caller> {
    return Caller.permitted(cluster, name, everything);
  }

  /** curl with these arguments; `path` as the seed writes it. */
  async curl(operator: Operator, path: string, ...args: readonly string[]): Promise<CurlAnswer> {
    const token = this.#token === undefined ? [] : ['-H', `Authorization: Bearer ${this.#token}`];
    const fixed = ['-sS', '-i', '--http1.1', '--max-time', '150', '--cacert', this.#cluster.authority.caFile];
    const { stdout } = await execa('curl', [...fixed, ...token, ...args, `https://${operator.address}${path}`]);
    return answerOf(stdout);
  }

  post(operator: Operator, path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<CurlAnswer> {
    const given = Object.entries({ 'Content-Type': 'application/json', ...headers }).flatMap(([name, value]) => [
      '-H',
      `${name}: ${value}`,
    ]);
    return this.curl(operator, path, '-X', 'POST', ...given, '-d', JSON.stringify(body));
  }

  /** A body from a file: longer than an argument may be. */
  async postFile(operator: Operator, path: string, body: string, contentType = 'application/json'): Promise<CurlAnswer> {
    const directory = await mkdtemp(join(tmpdir(), 'berth-body-'));
    try {
      await writeFile(join(directory, 'body'), body);
      return await this.curl(
        operator,
        path,
        '-X',
        'POST',
        '-H',
        `Content-Type: ${contentType}`,
        '--data-binary',
        `@${join(directory, 'body')}`,
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  }
}

function answerOf(stdout: string): CurlAnswer {
  const parts = stdout.split(/\r?\n\r?\n/);
  // Interim answers (100 Continue) come first.
  const at = parts.findIndex((part) => !/^HTTP\/\S+ 1\d\d/.test(part));
  const [first = '', ...lines] = (parts[at] ?? '').split(/\r?\n/);
  const text = parts.slice(at + 1).join('\n\n');
  return {
    status: Number(first.split(' ')[1]),
    headers: Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    ),
    body: parsed(text),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
