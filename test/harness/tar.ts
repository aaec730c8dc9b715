import { BerthError } from '../../process/errors.ts';

/** One entry of a layer. Times are zero, so that the same entries are the same bytes. */
export type TarEntry = { readonly path: string; readonly mode?: number; readonly uid?: number; readonly gid?: number } & (
  | { readonly type: 'file'; readonly content: Uint8Array | string }
  | { readonly type: 'directory' }
  | { readonly type: 'symlink' | 'hardlink'; readonly target: string }
  | { readonly type: 'character' | 'block'; readonly major: number; readonly minor: number }
  | { readonly type: 'fifo' }
);

const block = 512;
const typeFlags = { file: '0', hardlink: '1', symlink: '2', character: '3', block: '4', directory: '5', fifo: '6' } as const;

/** A ustar archive. Paths are relative, with at most 100 bytes. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries
    .map((entry) => asItsTarget(entry, entries))
    .flatMap((entry) => {
      const content = entry.type === 'file' ? Buffer.from(entry.content) : Buffer.alloc(0);
      return [header(entry, content.length), content, Buffer.alloc((block - (content.length % block)) % block)];
    });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

/** A hard link carries the mode and owner of its target: unpacking sets them on the file that both name. */
function asItsTarget(entry: TarEntry, entries: readonly TarEntry[]): TarEntry {
  if (entry.type !== 'hardlink') return entry;
  const { mode, uid, gid } = entries.find(({ path }) => path === entry.target) ?? {};
  return { ...entry, mode: entry.mode ?? mode ?? 0o644, uid: entry.uid ?? uid ?? 0, gid: entry.gid ?? gid ?? 0 };
}

function header(entry: TarEntry, size: number): Buffer {
  const buffer = Buffer.alloc(block);
  const path = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  const target = 'target' in entry ? entry.target : '';
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(target) > 100)
    throw new BerthError('PathTooLong', `"${path}" is too long for this tar writer.`);
  const octal = (value: number, offset: number, length: number) =>
    buffer.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  buffer.write(path, 0);
  octal(entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644), 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  buffer.write('        ', 148);
  buffer.write(typeFlags[entry.type], 156);
  buffer.write(target, 157);
  buffer.write('ustar\x0000', 257, 'latin1');
  octal('major' in entry ? entry.major : 0, 329, 8);
  octal('minor' in entry ? entry.minor : 0, 337, 8);
  const sum = buffer.reduce((total, byte) => total + byte, 0);
  buffer.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return buffer;
}
