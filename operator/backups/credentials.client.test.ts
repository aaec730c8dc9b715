import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { loadCredentials } from './credentials.client.ts';

const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

const config = (password: string) => JSON.stringify({ auths: { 'r.test': { username: 'berth', password } } });

async function setUp(content: string) {
  const directory = await mkdtemp(join(tmpdir(), 'berth-credentials-'));
  cleanUp.push(() => rm(directory, { recursive: true }));
  const file = join(directory, '.dockerconfigjson');
  await writeFile(file, content);
  const clock = new FakeClock();
  const lines: string[] = [];
  const log = {
    ...silentLogger,
    info: (_: object, line: string) => void lines.push(line),
    error: (_: object, line: string) => void lines.push(line),
  };
  return { file, clock, lines, log };
}

it('follows its file; what can not be read changes nothing and is said', async () => {
  const { file, clock, lines, log } = await setUp(config('first'));
  const credentials = await loadCredentials({ file, clock, log });
  expect(credentials.current()).toEqual([{ host: 'r.test', username: 'berth', password: 'first' }]);
  const stop = new AbortController();
  const running = credentials.run(stop.signal);
  const compare = async () => {
    clock.advance(10_000);
    while (clock.timers === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  };
  await writeFile(file, 'nonsense');
  await compare();
  expect(credentials.current()[0]?.password).toBe('first');
  await writeFile(file, config('second'));
  await compare();
  expect(credentials.current()[0]?.password).toBe('second');
  await compare();
  expect(lines).toEqual(['Credentials for backups not read again, the old ones stay in use', 'Credentials for backups read again']);
  stop.abort();
  await running;
});

it.each(['nonsense', '[]', '{}', '{"auths":3}'])('a file with %s is refused, and nothing of it is told', async (content) => {
  const { file, clock, log } = await setUp(content);
  await expect(loadCredentials({ file, clock, log })).rejects.toMatchObject({ code: 'CredentialsFile' });
});

it('a file that is not there is refused by its name', async () => {
  const { clock, log } = await setUp('');
  await expect(loadCredentials({ file: '/nowhere/at/all', clock, log })).rejects.toThrow('/nowhere/at/all');
});
