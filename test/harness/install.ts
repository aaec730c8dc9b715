import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../process/errors.ts';
import { issueToken } from './identity.ts';
import type { KubeApi, KubeObject } from './kube-api.ts';
import { customResourceDefinitions, productManifests } from './manifests.ts';

/** Installs CRDs, ServiceAccounts, roles and admission policies, and waits until the API server acts on them. Safe to repeat. */
export async function installProduct(api: KubeApi, namespace: string, tokenSeconds: number): Promise<void> {
  for (const name of ['default', namespace]) await api.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const definitions = customResourceDefinitions();
  await Promise.all(definitions.map((definition) => api.apply(definition)));
  for (const object of productManifests(namespace)) await api.apply(object);
  for (const definition of definitions) await until(`${definition.metadata.name} to be served`, () => isEstablished(api, definition));
  const served = definitions.some(({ metadata }) => metadata.name === 'sandboxes.berth.dev');
  if (served) await until('the finalizer policy to act', () => addsFinalizer(api));
  const token = await issueToken(api, { serviceAccount: 'berth-agent', expirationSeconds: Math.min(tokenSeconds, 3600) });
  const stranger = api.as(token);
  try {
    await until("the agents' admission policy to act", () => refusesUnbound(stranger, namespace));
  } finally {
    await stranger.close();
  }
}

async function isEstablished(api: KubeApi, definition: KubeObject): Promise<boolean> {
  const { conditions = [] } = ((await api.get(definition)).body.status ?? {}) as { conditions?: { type: string; status: string }[] };
  return conditions.some(({ type, status }) => type === 'Established' && status === 'True');
}

/** A dry run, so that nothing is made. */
async function addsFinalizer(api: KubeApi): Promise<boolean> {
  const body = { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata: { name: 'probe' }, spec: { image: 'probe' } };
  const answer = await api.call('POST', '/apis/berth.dev/v1alpha1/namespaces/default/sandboxes?dryRun=All', body);
  return ((answer.body.metadata ?? {}) as { finalizers?: string[] }).finalizers?.includes('berth.dev/sandbox') === true;
}

/** An agent's token without a node must not write any Lease. */
async function refusesUnbound(stranger: KubeApi, namespace: string): Promise<boolean> {
  const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'runner-probe', namespace } };
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases?dryRun=All`;
  const answer = await stranger.call('POST', path, body);
  return answer.status === 403 && String(answer.body.message).includes('berth-agent-own-runner');
}

async function until(what: string, test: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await test())) {
    if (performance.now() > end) throw new BerthError('NotInstalled', `Waited 60 s in vain for ${what}.`);
    await delay(50);
  }
}
