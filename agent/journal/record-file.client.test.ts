import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { FakeFiles } from './fake-files.ts';
import { RecordFile, type RecordFormat } from './record-file.client.ts';

const path = '/d/journal';
const words: RecordFormat<readonly string[], string> = {
  empty: [],
  apply: (state, records) => [...state, ...records],
  compact: (state) => state,
};

/** A file of words on a disk, and another one of the same disk. */
async function aFile() {
  const files = new FakeFiles(100_000);
  const open = () => RecordFile.open({ path, clock: new FakeClock(), log: silentLogger, files, ballastBytes: 16 }, words);
  return { files, file: await open(), open };
}

describe('what is noted in a file of records', () => {
  it('is in its state at once and waits for no disk', async () => {
    const { files, file } = await aFile();
    const before = files.syncs;
    const noted = file.note(['a']);
    expect(file.state()).toEqual(['a']);
    await noted;
    await file.note(['b']);
    expect(files.syncs).toBe(before);
  });

  it('outlives the process', async () => {
    const { file, open } = await aFile();
    await file.append(['a']);
    await file.note(['b']);
    await file.note(['c', 'd']);
    // Nobody closes it.
    expect((await open()).state()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('becomes durable with what is appended next, in one line and one wait, and in its sequence', async () => {
    const { files, file, open } = await aFile();
    const [begun, lines] = [files.syncs, await countLines(files)];
    await file.note(['a']);
    await file.note(['b']);
    await file.append(['c']);
    expect(files.syncs - begun).toBe(1);
    expect((await countLines(files)) - lines).toBe(1);
    await file.append(['d']);
    expect((await open()).state()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('is one line for as long as it is not durable, so that a torn one is the last', async () => {
    const { files, file, open } = await aFile();
    await file.append(['a']);
    const sound = files.files.get(path) ?? Buffer.alloc(0);
    for (const word of ['b', 'c', 'd']) {
      await file.note([word]);
      expect(await countLines(files)).toBe(sound.toString().split('\n').length);
    }
    const written = files.files.get(path) ?? Buffer.alloc(0);
    for (let length = sound.length; length < written.length; length++) {
      files.files.set(path, written.subarray(0, length));
      expect((await open()).state()).toEqual(['a']);
      files.files.set(path, written);
    }
  });

  it('is waited for now and then all the same', async () => {
    const { files, file } = await aFile();
    const before = files.syncs;
    for (let number = 0; number < 64; number++) await file.note([String(number)]);
    expect(files.syncs - before).toBe(2);
  });

  it('is durable when the file is closed', async () => {
    const { files, file, open } = await aFile();
    await file.note(['a']);
    const before = files.syncs;
    await file.close();
    expect(files.syncs).toBe(before + 1);
    await expect(file.note(['b'])).rejects.toMatchObject({ code: 'JournalFailed' });
    expect((await open()).state()).toEqual(['a']);
  });
});

async function countLines(files: FakeFiles): Promise<number> {
  return (await files.read(path)).split('\n').length - 1;
}
