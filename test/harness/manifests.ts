import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from './kube-api.ts';

const repository = join(import.meta.dirname, '..', '..');

/** Where the bundled programs lie: those that are shipped, or the same with failpoints. */
export function bundlesOf({ failpoints }: { readonly failpoints: boolean }): { readonly operator: string; readonly agent: string } {
  const directory = join(repository, 'dist', ...(failpoints ? ['crash'] : []));
  return { operator: join(directory, 'operator.mjs'), agent: join(directory, 'agent.mjs') };
}

/** The ServiceAccounts, roles and admission policies of Berth in a namespace; the same files that the chart installs. */
export function productManifests(namespace: string): readonly KubeObject[] {
  return yamlFiles(join(repository, 'hack', 'manifests')).flatMap((path) => {
    const rendered = readFileSync(path, 'utf8').replaceAll('{{ .Release.Namespace }}', namespace);
    return parseObjects(rendered);
  });
}

/** The generated CustomResourceDefinitions. */
export function customResourceDefinitions(): readonly KubeObject[] {
  return yamlFiles(join(repository, 'crds', 'yaml')).flatMap((path) => parseObjects(readFileSync(path, 'utf8')));
}

export function parseObjects(yaml: string): readonly KubeObject[] {
  return parseAllDocuments(yaml)
    .map((document) => document.toJS() as KubeObject | null)
    .filter((object) => object !== null);
}

function yamlFiles(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .map((name) => join(directory, name));
}
