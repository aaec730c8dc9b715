import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(import.meta.dirname, 'goldens');

/** The committed text of this name. With BERTH_UPDATE_GOLDENS=1 the given text is committed-to-be instead, for a person to review. */
export function golden(name: string, printed: string): string {
  const path = join(directory, `${name}.txt`);
  if (process.env.BERTH_UPDATE_GOLDENS === '1') writeFileSync(path, printed);
  return existsSync(path) ? readFileSync(path, 'utf8') : `(there is no ${path}; make it with BERTH_UPDATE_GOLDENS=1)`;
}

/** What differs between two runs, and what is written in its place. Longer words are shortened so that columns stay readable. */
const varying: readonly (readonly [RegExp, string])[] = [
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uuid>'],
  [/sha256:[0-9a-f]{64}/g, 'sha256:<digest>'],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>'],
  [/127\.0\.0\.1:\d+/g, '<registry>'],
  [/^( *(Resource Version|Attempts|Order|Highest Epoch|Epoch|Content Version|Generation|Observed Generation):) .*$/gm, '$1 <number>'],
  [/^( *Config Hash:) .*$/gm, '$1 <hash>'],
  [/^( *Retry Time:) .*$/gm, '$1 <time>'],
  [/(\d+m)?\d+s( \(x\d+ over (\d+m)?\d+s\))?/g, '<age>'],
  [/(?<=\S) {2,}/g, '  '],
  [/ +$/gm, ''],
];

/** The text with everything replaced that is not the same in the next run. Events of one second come in any sequence: by name, here. */
export function normalised(text: string): string {
  const [before = '', events] = varying
    .reduce((result, [pattern, word]) => result.replaceAll(pattern, word), text)
    .split(/(?<=^Events:.*\n.*\n.*\n)/m);
  return events === undefined ? before : `${before}${events.trimEnd().split('\n').toSorted().join('\n')}\n`;
}
