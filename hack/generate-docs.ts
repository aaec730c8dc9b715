import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { definitions, schemaOf } from './crds/definitions.ts';
import { kindReference } from './crds/kind-reference.ts';
import { reasonReference, withFailures } from './crds/reason-reference.ts';

/** The reference documentation: path relative to the repository → content. */
export async function generate(): Promise<Map<string, string>> {
  const kinds = definitions.map(
    (definition) => [`docs/reference/${definition.names.singular}.md`, kindReference(definition, schemaOf(definition))] as const,
  );
  const guide = withFailures(await readFile(join(import.meta.dirname, '..', 'docs', 'guide.md'), 'utf8'));
  return new Map([...kinds, ['docs/reference/reasons.md', reasonReference()], ['docs/guide.md', guide]]);
}
