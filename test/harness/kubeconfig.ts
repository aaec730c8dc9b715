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
