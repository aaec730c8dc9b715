import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { verdicts, type Verdict } from '../../examples/judge/verdict.ts';
import { permittedToken } from './caller.ts';
import { startTimeoutMs, World } from './world.ts';

const example = join(import.meta.dirname, '../../examples/judge');

/** Every submission in a language whose image can be made here, and what the judge says of it. */
const submissions: Readonly<Record<string, Omit<Verdict, 'message'> & { readonly says?: RegExp }>> = {
  'sum/accepted.sh': { verdict: 'Accepted' },
  'sum/wrong-answer.sh': { verdict: 'WrongAnswer', says: /^test 2-negative: word 1 is "1000005", not "999995"$/ },
  'sum/compile-error.sh': { verdict: 'CompileError', says: /syntax error/ },
  'sum/cpu-time.sh': { verdict: 'TimeLimitExceeded', limit: 'CpuTime' },
  'sum/wall-time.sh': { verdict: 'TimeLimitExceeded', limit: 'WallTime' },
  'sum/memory.sh': { verdict: 'MemoryLimitExceeded', limit: 'Memory' },
  'sum/output.sh': { verdict: 'OutputLimitExceeded', limit: 'Output' },
  'sum/processes.sh': { verdict: 'ProcessLimitExceeded', limit: 'Pids' },
  'sum/exit-code.sh': { verdict: 'RuntimeError', says: /code 3$/ },
  'sum/signal.sh': { verdict: 'RuntimeError', says: /signal 11/ },
  'reverse/accepted.sh': { verdict: 'Accepted' },
  'reverse/no-file.sh': { verdict: 'WrongAnswer', says: /no file \/work\/output.txt$/ },
  'reverse/large-file.sh': { verdict: 'OutputLimitExceeded', limit: 'OutputFile' },
};

describe('the example judge', () => {
  let world: World;
  let directory: string;
  let env: Readonly<Record<string, string>>;

  beforeAll(async () => {
    world = await World.start({ operators: 2 });
    directory = await mkdtemp(join(tmpdir(), 'berth-judge-'));
    const languages = JSON.parse(await readFile(join(example, 'languages.json'), 'utf8')) as { readonly sh: object };
    const none = { ...languages.sh, image: world.cluster.image('none:1') };
    await writeFile(join(directory, 'languages.json'), JSON.stringify({ sh: { ...languages.sh, image: world.image }, none }));
    env = {
      BERTH_URL: world.cluster.operators.map(({ url }) => url).join(','),
      // As in its README.
      BERTH_TOKEN: await permittedToken(world.cluster, 'judge', { tasks: ['*'] }),
      NODE_EXTRA_CA_CERTS: world.cluster.authority.caFile,
    };
  }, startTimeoutMs);
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
    await world.stop();
  }, startTimeoutMs);

  const judge = async (problem: string, submission: string, ...args: readonly string[]) => {
    const languages = ['--languages', join(directory, 'languages.json')];
    const files = [join(example, 'problems', problem), submission];
    const { stdout } = await execa(process.execPath, [join(example, 'judge.ts'), ...languages, ...args, ...files], { env });
    return stdout.split('\n').map((line) => JSON.parse(line) as Partial<Verdict> & { readonly step?: string; readonly task?: string });
  };

  it('has submissions for every verdict that can be their fault', async () => {
    const files = (await readdir(join(example, 'submissions'), { recursive: true })).filter((name) => name.endsWith('.sh'));
    expect(files.toSorted()).toEqual(Object.keys(submissions).toSorted());
    const shown = new Set(Object.values(submissions).map(({ verdict }) => verdict));
    expect(verdicts.filter((verdict) => !shown.has(verdict))).toEqual(['SystemError']);
  });

  it.each(Object.entries(submissions))('says of %s what it should', async (submission, { verdict, limit, says = /./ }) => {
    const [problem = ''] = submission.split('/');
    const said = (await judge(problem, join(example, 'submissions', submission))).at(-1);
    expect({ verdict: said?.verdict, limit: said?.limit }).toEqual({ verdict, limit });
    if (verdict !== 'Accepted') expect(said?.message).toMatch(says);
  });

  it('says that it is nobody’s fault when the image is not there', async () => {
    const submission = join(directory, 'submission.none');
    await writeFile(submission, 'exit 0');
    expect((await judge('sum', submission)).at(-1)).toMatchObject({
      verdict: 'SystemError',
      message: expect.stringMatching(/^StartFailed ImageFailed/),
    });
  });

  it('goes on under the same id while its pods are killed, and runs nothing twice', async () => {
    const accepted = join(example, 'submissions/sum/accepted.sh');
    const tasks = (lines: Awaited<ReturnType<typeof judge>>) => lines.flatMap(({ task }) => (task === undefined ? [] : [task]));
    const first = await judge('sum', accepted, '--id', 'submission-17');
    const [operator] = world.cluster.operators;
    await operator?.kill();
    const again = await judge('sum', accepted, '--id', 'submission-17');
    await operator?.start();
    expect(again.at(-1)).toMatchObject({ verdict: 'Accepted' });
    expect(tasks(again)).toEqual(tasks(first));
    expect(tasks(first)).toHaveLength(3);
  });
});
