import { readFileSync } from 'node:fs';

export interface KubeconfigOptions {
  /** Name of cluster, user and context. */
  readonly name: string;
  readonly server: string;
  readonly caFile: string;
  readonly token: string;
}

/** A kubeconfig that names no other file. JSON, which is YAML. */
export function kubeconfig({ name, server, caFile, token }: KubeconfigOptions): string {
  const ca = readFileSync(caFile).toString('base64');
  return `${JSON.stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server, 'certificate-authority-data': ca } }],
      users: [{ name, user: { token } }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      'current-context': name,
    },
    null,
    2,
  )}\n`;
}

/** What a kubeconfig of this shape says: for clients that are not kubectl. */
export function readKubeconfig(path: string): { readonly server: string; readonly ca: string; readonly token: string } {
  const { clusters, users } = JSON.parse(readFileSync(path, 'utf8')) as {
    clusters: { cluster: { server: string; 'certificate-authority-data': string } }[];
    users: { user: { token: string } }[];
  };
  const [cluster, user] = [clusters[0]?.cluster, users[0]?.user];
  if (cluster === undefined || user === undefined) throw new Error(`${path} names no cluster or no user`);
  return { server: cluster.server, ca: Buffer.from(cluster['certificate-authority-data'], 'base64').toString(), token: user.token };
}
