import { expect, it } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../process/system-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { TokenFile } from './token.client.ts';

it('a token is read again when its file changes, and kept when the file cannot be read', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-token-'));
  const path = join(directory, 'token');
  await expect(TokenFile.open(path)).rejects.toMatchObject({ code: 'TokenUnreadable' });
  await writeFile(path, '\n');
  await expect(TokenFile.open(path)).rejects.toMatchObject({ code: 'TokenUnreadable' });
  await writeFile(path, 'one\n');
  const file = await TokenFile.open(path);
  const stop = new AbortController();
  const changed = new Promise<string>((resolve) => file.onChange(resolve));
  const running = file.run(systemClock(), silentLogger, stop.signal, 5);
  await rm(path);
  expect(file.current()).toBe('one');
  await writeFile(path, 'two');
  expect(await changed).toBe('two');
  expect(file.current()).toBe('two');
  stop.abort();
  await running;
  await rm(directory, { recursive: true });
});
