import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { describeIssues, runnerManifestSchema, sandboxManifestSchema } from '../crds/index.ts';
import { tables } from '../crds/rows/index.ts';

const folder = join(import.meta.dirname, '../examples');
const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));

interface Manifest {
  readonly kind?: string;
  readonly metadata?: { readonly name?: string };
  readonly spec?: {
    readonly imagePullSecrets?: readonly { readonly name: string }[];
    readonly env?: readonly { readonly valueFrom?: { readonly secretKeyRef: { readonly name: string } } }[];
  };
}

function documentsOf(file: string): readonly Manifest[] {
  return parseAllDocuments(readFileSync(join(folder, file), 'utf8'), { strict: true }).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

const ofKind = (kind: string) => files.flatMap((file) => documentsOf(file)).filter((object) => object.kind === kind);

/** Every field that is set, `[]` after the name of a list. Labels are values, not fields. */
function fieldsSet(value: unknown, path: string): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item) => fieldsSet(item, path));
  if (typeof value !== 'object' || value === null || path.endsWith('.matchLabels')) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const name = `${path}.${key}${Array.isArray(inner) ? '[]' : ''}`;
    return [name, ...fieldsSet(inner, name)];
  });
}

describe('the examples', () => {
  it.each(files)('%s holds only objects that the API takes', (file) => {
    for (const object of documentsOf(file)) {
      if (object.kind === 'Secret') continue;
      const result = (object.kind === 'Runner' ? runnerManifestSchema : sandboxManifestSchema).safeParse(object);
      expect(result.success ? 'accepted' : describeIssues(result.error)).toBe('accepted');
    }
  });

  it('name nothing that the API does not have', () => {
    for (const { names, rows } of tables) {
      const known = new Set(rows.map(({ field }) => field));
      const set = ofKind(names.kind).flatMap(({ spec }) => fieldsSet(spec, 'spec'));
      expect(set.filter((field) => !known.has(field))).toEqual([]);
    }
  });

  it.each([
    ['Sandbox', 'full.yaml'],
    ['Runner', 'runner.yaml'],
  ])('of a %s: %s sets every field that works', (kind, file) => {
    const set = documentsOf(file)
      .filter((object) => object.kind === kind)
      .flatMap(({ spec }) => fieldsSet(spec, 'spec'));
    const works = tables.flatMap(({ names, rows }) =>
      names.kind === kind
        ? rows.filter(({ field, refused }) => field.startsWith('spec.') && refused !== true).map(({ field }) => field)
        : [],
    );
    // A group whose every field is refused, and what names a backup that exists.
    const isLeftOut = (field: string) => field === 'spec.lifecycle' || field === 'spec.restore' || field.startsWith('spec.restore.');
    expect(works.filter((field) => !isLeftOut(field) && !set.includes(field))).toEqual([]);
  });

  it('have different names, so that all can be applied', () => {
    const names = ofKind('Sandbox').map(({ metadata }) => metadata?.name);
    expect(new Set(names).size).toBe(names.length);
  });

  it('bring the Secrets that they name', () => {
    for (const file of files) {
      const objects = documentsOf(file);
      const secrets = objects.filter(({ kind }) => kind === 'Secret').map(({ metadata }) => metadata?.name);
      const named = objects.flatMap(({ spec }) => [
        ...(spec?.imagePullSecrets?.map(({ name }) => name) ?? []),
        ...(spec?.env?.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef.name ?? []) ?? []),
      ]);
      expect(secrets).toEqual(expect.arrayContaining(named));
    }
  });
});
