import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { agentSettings } from '../agent/settings.ts';
import { openApiOf } from '../operator/http/open-api.ts';
import { routes } from '../operator/http/routes.ts';
import { operatorSettings } from '../operator/settings.ts';
import { VERSION } from '../process/version.ts';
import { errorReference, metricReference } from './code-reference.ts';
import { definitions, schemaOf } from './crds/definitions.ts';
import { kindReference } from './crds/kind-reference.ts';
import { reasonReference, withFailures } from './crds/reason-reference.ts';
import { settingsReference } from './settings-reference.ts';

/** The reference documentation: path relative to the repository → content. */
export async function generate(): Promise<Map<string, string>> {
  const kinds = definitions.map(
    (definition) => [`docs/reference/${definition.names.singular}.md`, kindReference(definition, schemaOf(definition))] as const,
  );
  const guide = withFailures(await readFile(join(import.meta.dirname, '..', 'docs', 'guide.md'), 'utf8'));
  return new Map([
    ...kinds,
    ['docs/reference/reasons.md', reasonReference()],
    ['docs/reference/settings.md', settingsReference({ operator: operatorSettings, agent: agentSettings })],
    ['docs/reference/metrics.md', metricReference()],
    ['docs/reference/errors.md', errorReference()],
    ['docs/reference/openapi.json', `${JSON.stringify(openApiOf(Object.values(routes), VERSION), undefined, 2)}\n`],
    ['docs/guide.md', guide],
  ]);
}
