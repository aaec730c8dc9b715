import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { named, tables, tried, withField, type Row } from '../../crds/rows/index.ts';
import { Cluster } from '../harness/cluster.ts';
import type { ApiAnswer } from '../harness/kube-api.ts';

/** What a user writes wrongly is refused by the API server with a message that names the field. Nothing is stored but one object of each kind. */

type Table = (typeof tables)[number];

const strict = 'dryRun=All&fieldValidation=Strict';
const merge = 'application/merge-patch+json';
const folderOf = ({ names }: Table) => `/apis/berth.dev/v1alpha1${names.namespaced ? '/namespaces/default' : ''}/${names.plural}`;
const said = ({ status, body }: ApiAnswer) => (status < 300 ? 'accepted' : String(body.message));
const shown = (value: unknown) => (typeof value === 'symbol' ? 'left out' : JSON.stringify(value).slice(0, 60));

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ runners: [], operators: 0, agents: false });
  for (const table of tables) await cluster.api.ok('POST', folderOf(table), withField(table.base, 'metadata.name', 'stored'));
}, 600_000);
afterAll(() => cluster[Symbol.asyncDispose]());

/** The verdict on an object. The status is judged as the first status of an object. */
async function verdict(table: Table, row: Row, value: unknown): Promise<string> {
  const object = tried(table.base, row, value);
  if (!row.field.startsWith('status')) return said(await cluster.api.call('POST', `${folderOf(table)}?${strict}`, object));
  const { status } = object as { readonly status?: unknown };
  return said(await cluster.api.call('PATCH', `${folderOf(table)}/stored/status?${strict}`, { status }, merge));
}

describe.each(tables.map((table): [string, Table] => [table.names.kind, table]))('%s', (_kind, table) => {
  it.each(table.rows.flatMap((row) => row.good.map((value): [string, string, Row, unknown] => [row.field, shown(value), row, value])))(
    '%s takes %s',
    async (_field, _shown, row, value) => expect(await verdict(table, row, value)).toBe('accepted'),
  );

  it.each(table.rows.flatMap((row) => row.bad.map((value): [string, string, Row, unknown] => [row.field, shown(value), row, value])))(
    '%s refuses %s and names it',
    async (field, _shown, row, value) => expect(await verdict(table, row, value)).toContain(named(field)),
  );
});

const fixed = tables.flatMap((table) =>
  table.rows.flatMap(({ field, mayNotBecome }): [string, string, Table, unknown][] =>
    mayNotBecome === undefined ? [] : [[table.names.kind, field, table, mayNotBecome]],
  ),
);

it.each(fixed)('%s: %s may not be changed', async (_kind, field, table, value) => {
  const answer = await cluster.api.call('PATCH', `${folderOf(table)}/stored?${strict}`, withField({}, field, value), merge);
  expect(said(answer)).toContain(field);
});
