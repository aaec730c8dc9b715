import { definitions, schemaOf } from './crds/definitions.ts';
import { kindReference } from './crds/kind-reference.ts';
import { reasonReference } from './crds/reason-reference.ts';

/** The reference documentation: path relative to the repository → content. */
export function generate(): Promise<Map<string, string>> {
  const kinds = definitions.map(
    (definition) => [`docs/reference/${definition.names.singular}.md`, kindReference(definition, schemaOf(definition))] as const,
  );
  return Promise.resolve(new Map([...kinds, ['docs/reference/reasons.md', reasonReference()]]));
}
