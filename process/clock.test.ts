import { describe, expect, it } from '@jest/globals';
import { sleep } from './clock.ts';
import { FakeClock, settle } from './fake-clock.ts';
import { followServer, systemClock } from './system-clock.ts';

describe('system clock', () => {
  const machine = { mono: 5_000, wall: 1_000_000 };
  const source = { monotonic: () => machine.mono, wall: () => machine.wall };

  it('does not notice that the wall clock jumps', () => {
    const clock = systemClock(source);
    machine.wall += 3_600_000;
    machine.mono += 10;
    expect(clock.now()).toBe(1_000_010);
  });

  it('says what the server says, although the wall clock was an hour ahead at start', () => {
    const clock = systemClock({ monotonic: () => 0, wall: () => 3_600_000 + 50_000 });
    clock.anchor(50_000);
    expect(clock.now()).toBe(50_999);
  });

  it.each([
    { when: 'it agrees with the answer', believed: 500, atLeast: 0, roundTripMs: 0, want: 500 },
    { when: 'the server is ahead', believed: 500, atLeast: 800, roundTripMs: 0, want: 800 },
    { when: 'the server is behind', believed: 5_000, atLeast: 800, roundTripMs: 0, want: 1_799 },
    { when: 'the answer took so long that it may be right', believed: 5_000, atLeast: 800, roundTripMs: 4_000, want: 5_000 },
  ])('when $when, believes $want', ({ believed, atLeast, roundTripMs, want }) => {
    expect(followServer(believed, atLeast, roundTripMs)).toBe(want);
  });

  it('fires after a time longer than setTimeout knows, not at once', async () => {
    let fired = false;
    const timer = systemClock().after(0x7fff_ffff * 2, () => (fired = true));
    await settle();
    await new Promise((resolve) => setTimeout(resolve, 5));
    timer.cancel();
    expect(fired).toBe(false);
  });

  it('fires once after the time, and not when cancelled', async () => {
    const fired: string[] = [];
    const clock = systemClock();
    clock.after(1, () => fired.push('cancelled')).cancel();
    await new Promise<void>((resolve) =>
      clock.after(2, () => {
        fired.push('kept');
        resolve();
      }),
    );
    expect(fired).toEqual(['kept']);
  });
});

describe('fake clock', () => {
  it('fires in the order of time, then in the order of setting, also timers set by timers', () => {
    const clock = new FakeClock();
    const fired: string[] = [];
    clock.after(20, () => fired.push(`c@${clock.monotonic()}`));
    clock.after(10, () => {
      fired.push(`a@${clock.monotonic()}`);
      clock.after(5, () => fired.push(`b@${clock.monotonic()}`));
    });
    clock.after(20, () => fired.push(`d@${clock.monotonic()}`));
    clock.after(21, () => fired.push('late'));
    clock.advance(20);
    expect(fired).toEqual(['a@10', 'b@15', 'c@20', 'd@20']);
    expect(clock.untilNext()).toBe(1);
  });

  it('lets what awaits go on between timers', async () => {
    const clock = new FakeClock();
    const seen: number[] = [];
    const loop = async () => {
      for (let round = 0; round < 3; round++) {
        await sleep(clock, 10);
        seen.push(clock.monotonic());
      }
    };
    void loop();
    await clock.run(100);
    expect(seen).toEqual([10, 20, 30]);
  });

  it('jumps its wall clock only', () => {
    const clock = new FakeClock(1_000);
    clock.jump(-500);
    expect([clock.now(), clock.monotonic()]).toEqual([500, 0]);
  });
});

describe('sleep', () => {
  it('rejects with the reason when aborted, and leaves no timer', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const sleeping = sleep(clock, 10, controller.signal);
    controller.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    expect(clock.timers).toBe(0);
    await expect(sleep(clock, 10, controller.signal)).rejects.toThrow('enough');
  });
});
