import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError } from '../../process/errors.ts';
import type { KubeApi, KubeObject } from './kube-api.ts';

/** The namespace in which Berth itself is installed. */
export const systemNamespace = 'berth-system';
/** The audience of the token with which an agent dials operators. */
export const operatorAudience = 'berth-operator';

/** A Node, as a kubelet would register it. Its existence is what node-bound tokens are bound to. */
export async function ensureNode(api: KubeApi, name: string): Promise<void> {
  await api.apply(nodeObject(name));
}

function nodeObject(name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/hostname': name } } };
}

export interface TokenRequest {
  readonly serviceAccount: string;
  /** Default: the API server's own audience. */
  readonly audience?: string;
  /** Binds the token to a Node: it names the node and ends with the Node object. */
  readonly node?: string;
  readonly expirationSeconds: number;
}

/** A ServiceAccount token made by the API server. */
export async function issueToken(api: KubeApi, options: TokenRequest): Promise<string> {
  const { serviceAccount, audience, node, expirationSeconds } = options;
  const boundObjectRef = node === undefined ? undefined : { apiVersion: 'v1', kind: 'Node', name: node, uid: await uidOf(api, node) };
  const body = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      expirationSeconds,
      ...(audience === undefined ? {} : { audiences: [audience] }),
      ...(boundObjectRef === undefined ? {} : { boundObjectRef }),
    },
  };
  const answer = await api.ok('POST', `/api/v1/namespaces/${systemNamespace}/serviceaccounts/${serviceAccount}/token`, body);
  return (answer.status as { token: string }).token;
}

/** Writes a file that only its owner may read; readers see the old or the new content, never half of it. */
export async function writeSecretFile(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, content, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

async function uidOf(api: KubeApi, node: string): Promise<string> {
  const answer = await api.get(nodeObject(node));
  const { uid } = (answer.body.metadata ?? {}) as { uid?: string };
  if (uid === undefined) throw new BerthError('NodeMissing', `There is no Node "${node}" to bind a token to.`);
  return uid;
}
