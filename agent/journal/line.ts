import { crc32Hex } from '../../process/digest.ts';
import { BerthError, messageOf } from '../../process/errors.ts';

/** The first line of the file: which format follows. */
export const journalHeader = 'berth-journal 1';

/**
 * One line for all records that are made durable at once: `<crc32> <json>`, ended by a newline. The next line is written only when this one is
 * on the disk, so that whatever a power loss leaves of a write is the last line.
 */
export function encodeLine(records: readonly unknown[]): string {
  const text = JSON.stringify(records);
  return `${crc32Hex(text)} ${text}\n`;
}

/** What was read from a journal's file. */
export interface DecodedJournal<Record> {
  readonly records: readonly Record[];
  /** Bytes that are sound. What comes after them was being written when the agent died, and is cut. */
  readonly soundBytes: number;
}

/**
 * Reads a journal. A last line that is torn is left out: its append never resolved. Anything wrong before it means that the disk or
 * somebody changed the file.
 * @throws BerthError `JournalCorrupt`
 */
export function decodeJournal<Record>(text: string, path: string): DecodedJournal<Record> {
  if (text.length === 0) return { records: [], soundBytes: 0 };
  const lines = text.split('\n');
  const whole = lines.slice(0, -1);
  const decoded = whole.map((line, index) => (index === 0 ? decodeHeader(line) : decodeLine(line)));
  const wrong = whole.length === 0 ? 0 : decoded.findIndex((line) => line === undefined);
  const isTorn = wrong > 0 && wrong === whole.length - 1 && lines.at(-1) === '';
  if (wrong >= 0 && !isTorn) throw corrupt(path, wrong + 1);
  const sound = wrong < 0 ? whole : whole.slice(0, wrong);
  return {
    records: decoded.slice(0, sound.length).flatMap((records) => records ?? []) as readonly Record[],
    soundBytes: sound.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0),
  };
}

function decodeHeader(line: string): readonly unknown[] | undefined {
  return line === journalHeader ? [] : undefined;
}

function decodeLine(line: string): readonly unknown[] | undefined {
  const text = line.slice(9);
  if (line[8] !== ' ' || line.slice(0, 8) !== crc32Hex(text)) return undefined;
  return JSON.parse(text) as readonly unknown[];
}

function corrupt(path: string, line: number): BerthError {
  return new BerthError(
    'JournalCorrupt',
    `Line ${line} of the journal ${path} is damaged and it is not the last one: what this agent has started can no longer be trusted. ` +
      'Check the disk, then bring back the file from a copy of the machine, or give the runner a new store: move its state directory away and remove its containerd namespace.',
    { details: { path, line } },
  );
}

/** The error of a journal that can no longer be written. */
export function journalFailed(path: string, cause: unknown): BerthError {
  return new BerthError(
    'JournalFailed',
    `The journal ${path} cannot be written: ${messageOf(cause)}. The agent ends, sandboxes go on. Check the disk.`,
    { cause, details: { path } },
  );
}
