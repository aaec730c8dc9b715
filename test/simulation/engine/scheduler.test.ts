import { describe, expect, it } from '@jest/globals';
import { sleep } from '../../../process/clock.ts';
import { Process } from './process.ts';
import { Random } from './random.ts';
import { Scheduler } from './scheduler.ts';

function aProcess(name = 'p') {
  const scheduler = new Scheduler();
  const said: string[] = [];
  const process = new Process(name, scheduler, new Random(name));
  return { scheduler, process, said, say: (text: string) => () => void said.push(`${scheduler.now} ${text}`) };
}

describe('Scheduler', () => {
  it('lets things happen in the order of their times, those of one moment in the order of the calls', async () => {
    const { scheduler, said, say } = aProcess();
    for (const [ms, text] of [
      [30, 'c'],
      [10, 'a'],
      [30, 'd'],
      [20, 'b'],
    ] as const) {
      scheduler.after(ms, say(text));
    }
    await scheduler.run(100);
    expect(said).toEqual(['10 a', '20 b', '30 c', '30 d']);
    expect(scheduler.now).toBe(100);
  });

  it('orders many things as a sort would', async () => {
    const { scheduler } = aProcess();
    const random = new Random('many');
    const times = Array.from({ length: 2000 }, () => random.between(0, 500));
    const seen: number[] = [];
    for (const ms of times) scheduler.after(ms, () => seen.push(ms));
    await scheduler.run(1000);
    expect(seen).toEqual([...times].sort((a, b) => a - b));
  });

  it('lets all promises go on before the next thing happens', async () => {
    const { scheduler, said, say } = aProcess();
    scheduler.after(1, () => {
      void Promise.resolve()
        .then(() => Promise.resolve())
        .then(say('after two awaits'));
    });
    scheduler.after(1, say('next'));
    await scheduler.run(2);
    expect(said).toEqual(['1 after two awaits', '1 next']);
  });

  it('forgets what was cancelled', async () => {
    const { scheduler, said, say } = aProcess();
    const timer = scheduler.after(5, say('never'));
    expect(scheduler.waiting).toBe(1);
    timer.cancel();
    timer.cancel();
    expect(scheduler.waiting).toBe(0);
    await scheduler.run(10);
    expect(said).toEqual([]);
  });
});

describe('Process', () => {
  it('does nothing any more once it was killed, also not what it awaited', async () => {
    const { scheduler, process, said, say } = aProcess();
    void sleep(process, 10).then(say('slept'));
    process.arrive(20, say('message'));
    scheduler.after(5, () => process.kill());
    await scheduler.run(100);
    expect(said).toEqual([]);
  });

  it('catches up after a pause; timers stay in order, and so do messages', async () => {
    const { scheduler, process, said, say } = aProcess();
    process.after(10, say('timer 1'));
    process.arrive(11, say('message 1'));
    process.after(12, say('timer 2'));
    process.arrive(13, say('message 2'));
    scheduler.after(5, () => process.pause());
    scheduler.after(50, () => process.resume());
    await scheduler.run(49);
    expect(said).toEqual([]);
    await scheduler.run(100);
    expect(said.filter((text) => text.includes('timer'))).toEqual(['50 timer 1', '50 timer 2']);
    expect(said.filter((text) => text.includes('message'))).toEqual(['50 message 1', '50 message 2']);
  });

  it('does not fire a timer that was cancelled while it was paused', async () => {
    const { scheduler, process, said, say } = aProcess();
    const timer = process.after(10, say('timer'));
    process.pause();
    await scheduler.run(20);
    timer.cancel();
    process.resume();
    await scheduler.run(30);
    expect(said).toEqual([]);
  });
});

describe('Random', () => {
  it('repeats itself for a seed, and a fork does not change its parent', () => {
    const draw = (random: Random) => Array.from({ length: 5 }, () => random.next());
    const forked = new Random('s');
    forked.fork('x').next();
    expect(draw(forked)).toEqual(draw(new Random('s')));
    expect(draw(new Random('s'))).not.toEqual(draw(new Random('t')));
    expect(draw(new Random('s').fork('x'))).not.toEqual(draw(new Random('s')));
  });

  it('keeps to its bounds', () => {
    const random = new Random('bounds');
    for (let n = 0; n < 1000; n++) {
      expect([3, 4, 5]).toContain(random.between(3, 5));
      const ms = random.latency(10, 100);
      expect(ms).toBeGreaterThan(0);
      expect(ms).toBeLessThanOrEqual(101);
    }
  });
});
