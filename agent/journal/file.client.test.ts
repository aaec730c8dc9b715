import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { anAcceptance } from './a-record.ts';
import { FileJournal } from './file.client.ts';

describe('journal in a file', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-journal-'));
    path = join(directory, 'journal');
  });
  afterEach(() => rm(directory, { recursive: true }));

  const open = (options: { newStoreID?: string; compactAfterBytes?: number } = {}) =>
    FileJournal.open({ path, newStoreID: 'store-1', clock: new FakeClock(), log: silentLogger, ...options });
  const order = (n: number) => anAcceptance({ order: n, uid: `u${n % 3}` });

  it('keeps the store and raises the incarnation at every start', async () => {
    await (await open()).close();
    const second = await open({ newStoreID: 'another' });
    expect(second.state()).toMatchObject({ storeID: 'store-1', incarnation: 2 });
    await second.close();
  });

  it('has after a start what was appended before, also many at once', async () => {
    const first = await open();
    await Promise.all(Array.from({ length: 100 }, (_, n) => first.append([order(n)])));
    await first.append([order(100), { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 1 }]);
    const before = first.state();
    await first.close();
    const second = await open();
    expect(second.state().sandboxes).toEqual(before.sandboxes);
    await second.close();
  });

  it('makes appends that wait for one write durable together', async () => {
    const journal = await open();
    await Promise.all(Array.from({ length: 50 }, (_, n) => journal.append([order(n)])));
    await journal.close();
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines).toHaveLength(4);
  });

  it('is in its state at once, before it is durable', async () => {
    const journal = await open();
    const durable = journal.append([order(7)]);
    expect(journal.state().sandboxes.get('u1')?.order).toBe(7);
    await durable;
    await journal.close();
  });

  it.each([1, 5, 20, 60])('cuts a last line that lacks its last %i bytes, and only that', async (bytes) => {
    const first = await open();
    await first.append([order(1)]);
    await first.append([order(2)]);
    await first.close();
    await truncate(path, (await stat(path)).size - bytes);
    const second = await open();
    expect([...second.state().sandboxes.keys()]).toEqual(['u1']);
    await second.append([order(2)]);
    await second.close();
    const third = await open();
    expect([...third.state().sandboxes.keys()]).toEqual(['u1', 'u2']);
    await third.close();
  });

  it('cuts a last line whose middle never reached the disk', async () => {
    const first = await open();
    await first.append([order(1)]);
    await first.close();
    await appendFile(path, `00000000 ${'\0'.repeat(100)}"}]\n`);
    const second = await open();
    expect([...second.state().sandboxes.keys()]).toEqual(['u1']);
    await second.close();
  });

  it.each([
    { what: 'a changed byte before the last line', spoil: (text: string) => text.replace('"order":1', '"order":9') },
    { what: 'a missing header', spoil: (text: string) => text.slice(text.indexOf('\n') + 1) },
    { what: 'another file', spoil: () => 'hello' },
  ])('refuses $what', async ({ spoil }) => {
    const first = await open();
    await first.append([order(1)]);
    await first.append([order(2)]);
    await first.close();
    await writeFile(path, spoil(await readFile(path, 'utf8')));
    await expect(open()).rejects.toMatchObject({ code: 'JournalCorrupt' });
  });

  it('writes itself anew when it has grown, and loses nothing', async () => {
    const first = await open({ compactAfterBytes: 2000 });
    for (let n = 1; n <= 200; n++) await first.append([order(n)]);
    const before = first.state();
    await first.close();
    expect((await stat(path)).size).toBeLessThan(6000);
    const second = await open();
    expect(second.state().sandboxes).toEqual(before.sandboxes);
    await second.close();
  });

  it('refuses to append after it failed', async () => {
    const journal = await open();
    await journal.close();
    await expect(journal.append([order(1)])).rejects.toMatchObject({ code: 'JournalFailed' });
  });
});
