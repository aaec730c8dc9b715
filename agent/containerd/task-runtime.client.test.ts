import { afterEach, describe, expect, it } from '@jest/globals';
import { setImmediate as turn } from 'node:timers/promises';
import { FakeClock } from '../../process/fake-clock.ts';
import { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection, Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { Freezes } from './freezes.client.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { Status } from './gen/types/task/task.ts';
import type { OneShots } from './one-shots.client.ts';
import { ContainerdTasks } from './task-runtime.client.ts';

const ref = { containerID: 'box', execID: 'task' };
const command = { args: ['true'], env: [], workingDir: '', contentVersion: 1 };
const io = { stdin: '', stdout: '/out', stderr: '/err' };
const never = new AbortController().signal;

/** Processes over a containerd that begins each only when it is let, and what happened in its sequence. */
function aContainer() {
  const happened: string[] = [];
  const answers: (() => void)[] = [];
  const connection = {
    call: async <Req, Res>(method: Method<Req, Res>): Promise<Res> => {
      if (method.path === ContainersService.get.path) {
        const process = { args: [], cwd: '/', env: [], user: {} };
        return { container: { spec: { value: Buffer.from(JSON.stringify({ process })) } } } as Res;
      }
      const name = method.path.split('/').at(-1) ?? '';
      happened.push(`${name} begins`);
      await new Promise<void>((resolve) => answers.push(resolve));
      happened.push(`${name} ends`);
      return { pid: 1 } as Res;
    },
  } as unknown as ContainerdConnection;
  const freezes = new Freezes();
  const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
  const tasks = new ContainerdTasks({ connection, cgroups, freezes, oneShots: {} as unknown as OneShots, clock: new FakeClock() });
  const thaw = Promise.withResolvers<undefined>();
  const freeze = () =>
    freezes.frozen('box', never, async () => {
      happened.push('paused');
      await thaw.promise;
      happened.push('resumed');
    });
  const answer = async () => {
    answers.shift()?.();
    await turn();
  };
  return { tasks, freeze, thaw: () => thaw.resolve(undefined), answer, happened };
}

describe('a process of a task and a pause of its sandbox', () => {
  it.each([
    { what: 'made', begin: (tasks: ContainerdTasks) => tasks.createCommand(ref, command, io), name: 'Exec' },
    { what: 'started', begin: (tasks: ContainerdTasks) => tasks.start(ref), name: 'Start' },
  ])('exclude each other: one that is being $what is waited for, and none is while the sandbox is paused', async ({ begin, name }) => {
    const { tasks, freeze, thaw, answer, happened } = aContainer();
    const first = begin(tasks);
    await turn();
    const frozen = freeze();
    await turn();
    expect(happened).toEqual([`${name} begins`]);
    await expect(begin(tasks)).rejects.toMatchObject({ code: 'SandboxPaused' });
    await answer();
    await first;
    expect(happened).toEqual([`${name} begins`, `${name} ends`, 'paused']);
    await expect(begin(tasks)).rejects.toMatchObject({ code: 'SandboxPaused' });
    thaw();
    await frozen;
    const second = begin(tasks);
    await turn();
    await answer();
    await second;
    expect(happened.slice(3)).toEqual(['resumed', `${name} begins`, `${name} ends`]);
  });

  it('in another sandbox have nothing to do with each other', async () => {
    const { tasks, freeze, thaw, answer, happened } = aContainer();
    const frozen = freeze();
    const other = tasks.start({ containerID: 'other', execID: 'task' });
    await turn();
    await answer();
    await other;
    expect(happened).toEqual(['paused', 'Start begins', 'Start ends']);
    thaw();
    await frozen;
  });
});

describe('a process of which nobody knows whether it was started', () => {
  const failed = (said: string, code: number = status.unknown) => new ContainerdError('/x', code, said);
  const gone = failed('not found', status.notFound);

  interface Script {
    /** What the first Start is answered with. */
    readonly start?: ContainerdError;
    /** What DeleteProcess is answered with, one after another: an error, or the pid that it had. Then 0. */
    readonly deleted?: readonly (ContainerdError | number)[];
    /** What each look finds, the last one for ever. Default: made and not started. */
    readonly looks?: readonly (Status | ContainerdError)[];
    /** Whether what is looked at was ever started. */
    readonly pid?: number;
    readonly hasSandbox?: boolean;
  }

  /** A containerd that answers so; and what it was asked besides. */
  const aContainerd = ({ start, deleted = [], looks = [Status.CREATED], pid = 0, hasSandbox = true }: Script) => {
    const asked: string[] = [];
    const [starts, deletes, seen] = [[start], [...deleted], [...looks]];
    const orThrow = (answer: ContainerdError | undefined | object): object => {
      if (answer instanceof ContainerdError) throw answer;
      return answer ?? { pid: 1 };
    };
    const look = (): object => {
      const found = seen.length > 1 ? seen.shift() : seen[0];
      if (found instanceof ContainerdError) throw found;
      return { process: { status: found, pid, exitStatus: 3, exitedAt: new Date(5) } };
    };
    const answer = (name: string, execID: string): object => {
      if (name === 'Get' && execID === '' && !hasSandbox) throw gone;
      if (name === 'Get' && execID === '') return { process: { status: Status.RUNNING, pid: 1, exitStatus: 0, exitedAt: undefined } };
      if (name === 'Get') return look();
      asked.push(name);
      if (name === 'Start') return orThrow(starts.shift());
      if (name !== 'DeleteProcess') return {};
      const next = deletes.shift() ?? 0;
      return orThrow(typeof next === 'number' ? { pid: next, exitStatus: 3, exitedAt: new Date(5) } : next);
    };
    const clock = new FakeClock();
    const connection = {
      call: async <Req, Res>(method: Method<Req, Res>, request: Req): Promise<Res> => {
        await turn();
        clock.advance(1_000);
        if (method.path === ContainersService.get.path) {
          const process = { args: [], cwd: '/', env: [], user: {} };
          return { container: { spec: { value: Buffer.from(JSON.stringify({ process })) } } } as Res;
        }
        return answer(method.path.split('/').at(-1) ?? '', (request as { readonly execId: string }).execId) as Res;
      },
    } as unknown as ContainerdConnection;
    const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
    const tasks = new ContainerdTasks({ connection, cgroups, freezes: new Freezes(), oneShots: {} as unknown as OneShots, clock });
    // Time goes on while it is waited.
    const passing = setInterval(() => clock.advance(100), 1);
    timers.push(passing);
    return { tasks, asked };
  };
  const timers: NodeJS.Timeout[] = [];
  afterEach(() => {
    for (const timer of timers.splice(0)) clearInterval(timer);
  });

  const exit = { status: 3, finishMs: 5 };
  const cases: readonly (Script & { readonly what: string; readonly found: object; readonly deletes: number })[] = [
    { what: 'never ran', found: { kind: 'None', exit: undefined }, deletes: 1 },
    { what: 'is paused with its sandbox and never ran', looks: [Status.PAUSED], found: { kind: 'None', exit: undefined }, deletes: 1 },
    { what: 'is not there', looks: [gone], found: { kind: 'None', exit: undefined }, deletes: 0 },
    { what: 'has ended', looks: [Status.STOPPED], pid: 7, found: { kind: 'Stopped', exit }, deletes: 0 },
    { what: 'ends in this moment', deleted: [7], found: { kind: 'Stopped', exit }, deletes: 1 },
    { what: 'runs', looks: [Status.RUNNING], pid: 7, found: { kind: 'Running', exit: undefined }, deletes: 0 },
    {
      ...{ what: 'is started in this moment', deleted: [failed('cannot delete a running process')] },
      ...{ looks: [Status.CREATED, Status.RUNNING], pid: 7, found: { kind: 'Running', exit: undefined }, deletes: 1 },
    },
    {
      ...{ what: 'can not be looked at for a while', looks: [Status.UNKNOWN, failed('late', status.deadlineExceeded), Status.CREATED] },
      ...{ deleted: [failed('away', status.unavailable)], found: { kind: 'None', exit: undefined }, deletes: 2 },
    },
  ];
  it.each(cases)('that $what is told so when it is taken back, and not started', async ({ found, deletes, ...script }) => {
    const { tasks, asked } = aContainerd(script);
    expect(await tasks.withdraw(ref)).toEqual(found);
    expect(asked).toEqual(Array.from({ length: deletes }, () => 'DeleteProcess'));
  });

  it('and that can not be taken back rejects in the end', async () => {
    const { tasks } = aContainerd({ deleted: Array.from({ length: 200 }, () => failed('broken')) });
    await expect(tasks.withdraw(ref)).rejects.toThrow('broken');
  });

  it('may have run when the answer to its removal was lost, and it is gone', async () => {
    const { tasks } = aContainerd({ deleted: [failed('away', status.unavailable)], looks: [Status.CREATED, gone] });
    await expect(tasks.withdraw(ref)).rejects.toThrow('away');
  });

  it('may have run when it is gone with its sandbox', async () => {
    const { tasks } = aContainerd({ looks: [gone], hasSandbox: false });
    await expect(tasks.withdraw(ref)).rejects.toThrow('gone');
  });

  const lost = failed('lost', status.unavailable);
  it.each([
    { what: 'is made anew before it is started again', script: { start: lost }, more: ['DeleteProcess', 'Exec', 'Start'] },
    { what: 'is not started again when it runs', script: { start: lost, looks: [Status.RUNNING], pid: 7 }, more: [] },
    { what: 'is not started again when it has run', script: { start: lost, looks: [Status.STOPPED], pid: 7 }, more: [] },
    {
      what: 'is no failure when it was started by an agent before this one',
      ...{ script: { start: failed('cannot start a stopped process'), looks: [Status.STOPPED], pid: 7 }, more: [] },
    },
  ])('$what', async ({ script, more }) => {
    const { tasks, asked } = aContainerd(script);
    await tasks.createCommand(ref, command, io);
    await tasks.start(ref);
    expect(asked).toEqual(['Exec', 'Start', ...more]);
  });

  it('may have run when it ended as it was taken back', async () => {
    const { tasks } = aContainerd({ start: lost, deleted: [7] });
    await tasks.createCommand(ref, command, io);
    await expect(tasks.start(ref)).rejects.toThrow('lost');
  });

  it('is made anew after a pause that nobody here knew of: a second start of one that failed ends the shim', async () => {
    const { tasks, asked } = aContainerd({ start: failed('cannot exec in a paused container') });
    await tasks.createCommand(ref, command, io);
    await expect(tasks.start(ref)).rejects.toMatchObject({ code: 'SandboxPaused' });
    await tasks.start(ref);
    expect(asked).toEqual(['Exec', 'Start', 'DeleteProcess', 'Exec', 'Start']);
  });
});
