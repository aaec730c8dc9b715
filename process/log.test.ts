import { describe, expect, it } from '@jest/globals';
import { BerthError } from './errors.ts';
import { FakeClock } from './fake-clock.ts';
import { createLogger, isSecretKey } from './log.ts';
import type { LogLevel } from './log.ts';

function logger(level?: LogLevel) {
  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) };
  return { lines, log: createLogger({ name: 'test', clock: new FakeClock(0), destination, ...(level === undefined ? {} : { level }) }) };
}

describe('log', () => {
  it('writes one object a line with level, time, name, the fields of its parents and its own', () => {
    const { lines, log } = logger();
    log.child({ controller: 'sandbox' }).child({ key: 'default/a' }).info({ attempt: 1 }, 'Reconciled');
    expect(lines).toEqual([
      {
        level: 'info',
        time: '1970-01-01T00:00:00.000Z',
        name: 'test',
        controller: 'sandbox',
        key: 'default/a',
        attempt: 1,
        msg: 'Reconciled',
      },
    ]);
  });

  it('leaves out lines below its level', () => {
    const { lines, log } = logger('warn');
    log.debug({}, 'a');
    log.info({}, 'b');
    log.warn({}, 'c');
    log.error({}, 'd');
    expect(lines.map((line) => line.msg)).toEqual(['c', 'd']);
  });

  it('redacts secrets however deep they are, in fields, in children and in errors', () => {
    const { lines, log } = logger();
    const err = new BerthError('Forbidden', 'refused', { details: { token: 'hunter2' }, cause: { headers: { Authorization: 'hunter2' } } });
    log
      .child({ session: { password: 'hunter2' } })
      .error({ err, list: [{ deep: { clientKey: 'hunter2' } }], map: new Map([['secretKey', 'hunter2']]) }, 'x');
    expect(JSON.stringify(lines)).not.toContain('hunter2');
    expect(lines[0]?.err).toMatchObject({ type: 'BerthError', code: 'Forbidden', message: 'refused', details: { token: '<redacted>' } });
  });

  it('writes cycles, big numbers and bytes without failing', () => {
    const { lines, log } = logger();
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    log.info({ cycle, big: 12n, bytes: new Uint8Array(3), date: new Date(0) }, 'x');
    expect(lines[0]).toMatchObject({ big: '12', bytes: '<3 bytes>', date: '1970-01-01T00:00:00.000Z' });
  });

  it.each([
    { key: 'token', want: true },
    { key: 'accessToken', want: true },
    { key: 'refresh-token', want: true },
    { key: 'Authorization', want: true },
    { key: 'client-key-data', want: true },
    { key: 'registryPassword', want: true },
    { key: 'tokens', want: false },
    { key: 'secretName', want: false },
    { key: 'key', want: false },
    { key: 'continueToken', want: false },
    { key: 'name', want: false },
  ])('$key is a secret: $want', ({ key, want }) => expect(isSecretKey(key)).toBe(want));
});
