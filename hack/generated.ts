/** What a generator makes: path relative to the repository → content. */
export type Generated = ReadonlyMap<string, string>;

/** A file that is not as it should be. `found` is undefined when it is missing, `wanted` when it should not be there. */
export interface Difference {
  readonly path: string;
  readonly found: string | undefined;
  readonly wanted: string | undefined;
}

/** Files in folders that a generator owns and does not make any more. */
export function staleFiles(generated: Generated, owned: readonly string[]): readonly string[] {
  return owned.filter((path) => !generated.has(path));
}

export function differences(generated: Generated, found: ReadonlyMap<string, string | undefined>): readonly Difference[] {
  return [...found]
    .map(([path, content]) => ({ path, found: content, wanted: generated.get(path) }))
    .filter((difference) => difference.found !== difference.wanted)
    .toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** One line for each difference and, for a changed file, the first line that differs. */
export function summarize(changes: readonly Difference[]): string {
  return changes
    .map((change) => `  ${describe(change)}`)
    .join('\n')
    .trimStart();
}

function describe({ path, found, wanted }: Difference): string {
  if (found === undefined) return `${path}: missing`;
  if (wanted === undefined) return `${path}: not generated any more`;
  const [before, after] = [found.split('\n'), wanted.split('\n')];
  const line = after.findIndex((text, index) => text !== before[index]);
  const at = line === -1 ? after.length : line;
  const [was, is] = [before[at], after[at]];
  const from = Math.max(0, firstDifference(was ?? '', is ?? '') - 20);
  return `${path}:${at + 1}: found ${excerpt(was, from)}, generated ${excerpt(is, from)}`;
}

/** What the line has from a little before the place where it differs. */
function excerpt(line: string | undefined, from: number): string {
  return line === undefined ? 'the end of the file' : `"${from > 0 ? '…' : ''}${line.slice(from, from + 80)}"`;
}

function firstDifference(one: string, other: string): number {
  const place = one.split('').findIndex((character, index) => character !== other[index]);
  return place === -1 ? one.length : place;
}
