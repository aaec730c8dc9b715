import { TIME } from './bases.ts';
import { ABSENT, row, type Row } from './row.ts';

/** Rows of the field types that recur. */

type Presence = 'required' | 'optional';

const presence = (kind: Presence) => (kind === 'required' ? { good: [], bad: [ABSENT] } : { good: [ABSENT], bad: [] });

export function counterRow(field: string, kind: Presence = 'required'): Row {
  return row(field, [0, 1, 9_007_199_254_740_991, ...presence(kind).good], [-1, 1.5, '1', 9_007_199_254_740_992, ...presence(kind).bad]);
}

export function timeRow(field: string, kind: Presence = 'required'): Row {
  return row(
    field,
    [TIME, '2026-01-31T12:00:00.123456Z', '2026-01-31T12:00:00+01:00', ...presence(kind).good],
    ['', 'yesterday', '2026-13-01T00:00:00Z', 1, ...presence(kind).bad],
  );
}

export function identityRow(field: string, kind: Presence = 'required'): Row {
  return row(field, ['a', 'a'.repeat(64), ...presence(kind).good], ['', 'a'.repeat(65), 1, ...presence(kind).bad]);
}

export function runnerNameRow(field: string, kind: Presence = 'required'): Row {
  return row(field, ['runner-1', 'node.example.com', ...presence(kind).good], ['', 'Node 1', 'a'.repeat(254), 1, ...presence(kind).bad]);
}

export function requestRow(field: string): Row {
  return row(field, ['1', '2026-01-31', ABSENT], ['', 'a b', 'a'.repeat(64), 1]);
}

/** The conditions of either kind; `tooMany` is one more than a list may have. */
export function conditionRows(tooMany: number): readonly Row[] {
  const condition = { type: 'Ready', status: 'True', reason: 'Started', message: '', lastTransitionTime: TIME };
  const conditions = (count: number) => Array.from({ length: count }, (_, n) => ({ ...condition, type: `T${n}` }));
  const path = 'status.conditions[]';
  return [
    row(
      path,
      [[], [condition, { ...condition, type: 'Assigned' }], conditions(tooMany - 1), ABSENT],
      [[condition, condition], 'Ready', conditions(tooMany)],
    ),
    row(
      `${path}.type`,
      ['Ready', 'connection.berth.dev/10-244-1-5-3001', `${'a'.repeat(252)}/${'b'.repeat(63)}`],
      [ABSENT, '', 'a b', '/a', 'a'.repeat(317), 1],
    ),
    row(`${path}.status`, ['True', 'False', 'Unknown'], [ABSENT, 'true', true]),
    row(`${path}.reason`, ['Started', 'A'.repeat(64)], [ABSENT, '', 'not camel', 'A'.repeat(65), 1]),
    row(`${path}.message`, ['', 'Said in one sentence.', '✓'.repeat(4096)], [ABSENT, 'a'.repeat(4097), 1]),
    timeRow(`${path}.lastTransitionTime`),
    counterRow(`${path}.observedGeneration`, 'optional'),
  ];
}
