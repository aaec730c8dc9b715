import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { anAcceptance } from './a-record.ts';
import { FakeFiles } from './fake-files.ts';
import { FileJournal } from './file.client.ts';

const ballastBytes = 4096;
const order = (n: number) => anAcceptance({ order: n, uid: `u${n}` });

/** A journal of its own on a disk of 20 kB, its clock, and another one that opens the same file. */
async function aJournal(room = 20_000) {
  const [files, clock] = [new FakeFiles(room), new FakeClock()];
  const open = () => FileJournal.open({ path: '/d/journal', newStoreID: 's', clock, log: silentLogger, files, ballastBytes });
  return { files, clock, journal: await open(), open };
}

describe('a journal on a full disk', () => {
  it('sets room aside while there is some', async () => {
    const { files, journal } = await aJournal();
    expect(files.files.get('/d/journal.ballast')).toHaveLength(ballastBytes);
    expect(journal.isFull()).toBe(false);
    await journal.close();
  });

  it('takes on what frees room out of what was set aside, and says that it is full', async () => {
    const { files, journal, open } = await aJournal();
    await journal.append([order(1)]);
    files.fill('/d/somebody');
    await journal.append([order(2)]);
    expect(journal.isFull()).toBe(true);
    for (let n = 3; n < 8; n++) await journal.append([order(n)]);
    await journal.close();
    const next = await open();
    expect([...next.state().sandboxes.keys()]).toEqual(['u1', 'u2', 'u3', 'u4', 'u5', 'u6', 'u7']);
    expect(next.state().incarnation).toBe(2);
    expect(next.isFull()).toBe(true);
    await next.close();
  });

  it('is opened where there is no room for a second copy: it goes on in the file', async () => {
    const { files, journal, open } = await aJournal();
    await journal.append([order(1)]);
    await journal.close();
    files.fill('/d/somebody');
    const next = await open();
    expect(next.state()).toMatchObject({ storeID: 's', incarnation: 2 });
    expect(next.isFull()).toBe(true);
    await next.append([order(2)]);
    await next.close();
    const third = await open();
    expect([...third.state().sandboxes.keys()]).toEqual(['u1', 'u2']);
    expect(third.state().incarnation).toBe(3);
    expect([...files.files.keys()].toSorted()).toEqual(['/d/journal', '/d/somebody']);
    await third.close();
  });

  it('cuts a torn end when it goes on in the file', async () => {
    const { files, journal, open } = await aJournal();
    await journal.append([order(1)]);
    await journal.close();
    files.files.set('/d/journal', Buffer.concat([files.files.get('/d/journal') ?? Buffer.alloc(0), Buffer.from('0000 torn')]));
    files.fill('/d/somebody');
    await (await open()).close();
    const third = await open();
    expect(third.state()).toMatchObject({ incarnation: 3 });
    expect([...third.state().sandboxes.keys()]).toEqual(['u1']);
    await third.close();
  });

  it('leaves no half of a line that did not fit', async () => {
    const { files, journal, open } = await aJournal();
    files.fill('/d/somebody');
    await journal.append([order(1)]);
    const failure = await appendUntilItFails(journal);
    expect(failure).toMatchObject({ code: 'JournalFailed' });
    await journal.close();
    await files.remove('/d/somebody');
    const next = await open();
    expect(next.state().sandboxes.get('u1')?.order).toBe(1);
    await next.close();
  });

  it('sets room aside again when there is some, and is full no more', async () => {
    const { files, clock, journal } = await aJournal();
    files.fill('/d/somebody');
    await journal.append([order(1)]);
    await clock.run(60_000);
    expect(journal.isFull()).toBe(true);
    await files.remove('/d/somebody');
    await clock.run(10_000);
    expect(journal.isFull()).toBe(false);
    expect(files.files.get('/d/journal.ballast')).toHaveLength(ballastBytes);
    await journal.close();
    expect(clock.timers).toBe(0);
  });

  it('that has too little room from the beginning is full', async () => {
    const { journal } = await aJournal(6000);
    expect(journal.isFull()).toBe(true);
    await journal.append([order(1)]);
    await journal.close();
  });

  it('that is not to be written at all fails to open', async () => {
    await expect(aJournal(10)).rejects.toMatchObject({ code: 'JournalFailed' });
  });
});

async function appendUntilItFails(journal: FileJournal): Promise<unknown> {
  for (let n = 2; n < 200; n++) {
    try {
      await journal.append([order(n)]);
    } catch (error) {
      return error;
    }
  }
  return undefined;
}
