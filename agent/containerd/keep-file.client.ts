import { readFile, writeFile } from 'node:fs/promises';

/** Sees to it that a file has this content. One that has it is not written, which a full disk would not allow. */
export async function keepFile(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  const wanted = Buffer.from(content);
  const found = await readFile(path).catch(unlessMissing);
  if (found?.equals(wanted) !== true) await writeFile(path, wanted, { mode });
}

function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  return undefined;
}
