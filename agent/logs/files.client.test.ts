import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { LogFiles } from './files.client.ts';

const limits = { maxBytes: 1_000, maxFiles: 3 };

describe('the logs of sandboxes', () => {
  let directory: string;
  let clock: FakeClock;
  let logs: LogFiles;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-logs-'));
    clock = new FakeClock();
    logs = new LogFiles({ directory, limits, clock, logger: silentLogger });
  });
  afterEach(() => {
    logs.stop();
    rmSync(directory, { recursive: true });
  });
  const content = (name: string) => readFileSync(join(directory, name), 'utf8');

  it('are cut in place, so that an open writer goes on at the new end and no line is lost', async () => {
    const writer = openSync(logs.pathOf('a-1'), 'a');
    const lines = Array.from({ length: 300 }, (_, n) => `line ${1000 + n}\n`);
    for (const [n, line] of lines.entries()) {
      writeSync(writer, line);
      if (n % 130 === 129) await logs.rotate();
    }
    closeSync(writer);
    expect(readdirSync(directory).toSorted()).toEqual(['a-1.log', 'a-1.log.1', 'a-1.log.2']);
    expect(['a-1.log.2', 'a-1.log.1', 'a-1.log'].map(content).join('')).toBe(lines.slice(0, 300).join(''));
  });

  it('never take more than they may, whatever was written while nobody looked', async () => {
    const writer = openSync(logs.pathOf('a-1'), 'a');
    for (let round = 0; round < 5; round++) {
      writeSync(writer, `${round}`.repeat(5_000));
      await logs.rotate();
      const sizes = readdirSync(directory).map((name) => statSync(join(directory, name)).size);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(limits.maxBytes * limits.maxFiles);
    }
    closeSync(writer);
    expect(content('a-1.log.1')).toBe('4'.repeat(3_000));
  });

  it('are left alone while they are small, and are looked at again and again', async () => {
    writeFileSync(logs.pathOf('a-1'), 'x'.repeat(1_000));
    writeFileSync(logs.pathOf('b-1'), 'x'.repeat(1_000));
    logs.start();
    await clock.run(15_000);
    expect(readdirSync(directory).toSorted()).toEqual(['a-1.log', 'b-1.log']);
    writeFileSync(logs.pathOf('b-1'), 'more', { flag: 'a' });
    for (let passed = 0; passed < 50 && !existsSync(`${logs.pathOf('b-1')}.1`); passed++) {
      await clock.run(10_000);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(readdirSync(directory).toSorted()).toEqual(['a-1.log', 'b-1.log', 'b-1.log.1']);
    expect([content('b-1.log'), content('b-1.log.1').length]).toEqual(['', 1_004]);
  });

  it('go with their sandbox, also when one is being rotated, and with no other', async () => {
    for (const name of ['a-1.log', 'a-1.log.1', 'a-1.log.new', 'a-11.log']) writeFileSync(join(directory, name), 'x'.repeat(5_000));
    await Promise.all([logs.rotate(), logs.remove('a-1')]);
    await logs.remove('a-1');
    expect(readdirSync(directory).filter((name) => name.startsWith('a-1.'))).toEqual([]);
    expect(existsSync(join(directory, 'a-11.log'))).toBe(true);
  });
});
