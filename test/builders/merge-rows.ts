/** A row of a decision table: for each column the values it holds for, and what comes of it. */
export interface MergedRow {
  readonly values: readonly ReadonlySet<string>[];
  readonly outcome: string;
}

/** Merges rows that differ in one column only and have the same outcome, until none are left: each point stays in exactly one row. */
export function mergeRows(
  points: readonly (readonly string[])[],
  outcomes: readonly string[],
  tried: (columns: readonly number[]) => readonly (readonly number[])[] = permutations,
): readonly MergedRow[] {
  const rows = points.map((values, index): MergedRow => ({
    values: values.map((value) => new Set([value])),
    outcome: outcomes[index] ?? '',
  }));
  const width = points[0]?.length ?? 0;
  const orders = tried(Array.from({ length: width }, (_, column) => column));
  return orders.map((order) => mergeUntilStable(rows, order)).reduce((best, one) => (one.length < best.length ? one : best), rows);
}

function mergeUntilStable(rows: readonly MergedRow[], order: readonly number[]): readonly MergedRow[] {
  const merged = order.reduce((some, column) => mergeColumn(some, column), rows);
  return merged.length === rows.length ? merged : mergeUntilStable(merged, order);
}

function mergeColumn(rows: readonly MergedRow[], column: number): readonly MergedRow[] {
  const others = (row: MergedRow) =>
    JSON.stringify([row.outcome, ...row.values.map((values, index) => (index === column ? [] : [...values].sort()))]);
  return [...Map.groupBy(rows, others).values()].map(([first, ...rest]) => {
    if (first === undefined) throw new Error('a group is never empty');
    const union = new Set([first, ...rest].flatMap((row) => [...(row.values[column] ?? [])]));
    return { ...first, values: first.values.map((values, index) => (index === column ? union : values)) };
  });
}

function permutations(items: readonly number[]): readonly (readonly number[])[] {
  if (items.length === 0) return [[]];
  return items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}

/** Few of many orders: each column is first once, forwards and backwards. For tables of which all orders would take too long. */
export function rotations(columns: readonly number[]): readonly (readonly number[])[] {
  const turned = columns.map((_, by) => [...columns.slice(by), ...columns.slice(0, by)]);
  return [...turned, ...turned.map((order) => order.toReversed())];
}
