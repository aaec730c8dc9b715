import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseRunner, parseSandbox } from './parse.ts';
import { runnerBase, sandboxBase } from './rows/bases.ts';

const stored = { uid: 'u', resourceVersion: '7', generation: 2, creationTimestamp: '2026-01-31T12:00:00Z' };
const sandbox = { ...sandboxBase, metadata: { ...sandboxBase.metadata, ...stored } };
const runner = { ...runnerBase, metadata: { ...runnerBase.metadata, ...stored } };
const metadata = { ...sandbox.metadata, finalizers: [], labels: {} };

describe('an object from the API server', () => {
  it('is read with everything in it', () => {
    expect(parseSandbox(sandbox)).toEqual({ ok: true, value: { ...sandbox, metadata } });
    expect(parseRunner(runner)).toEqual({
      ok: true,
      value: { ...runner, metadata: { ...runner.metadata, finalizers: [], labels: {} } },
    });
  });

  it('that was just created has a status with its defaults', () => {
    expect(parseSandbox({ ...sandbox, status: undefined })).toMatchObject({
      ok: true,
      value: { status: { state: 'Pending', order: 0, contentVersion: 0, restartCount: 0, releases: [], conditions: [] } },
    });
    expect(parseRunner({ ...runner, spec: undefined, status: undefined })).toMatchObject({
      ok: true,
      value: {
        spec: { unschedulable: false, maxStarted: 35, taskSlots: 4, taskSlotResources: { cpu: '100m', memory: '128Mi' } },
        status: { startedSandboxes: 0, unclaimed: [], removals: [], conditions: [] },
      },
    });
  });

  it('with fields of a newer version is read without them', () => {
    const newer = { ...sandbox, spec: { ...sandbox.spec, colour: 'blue' }, status: { ...sandbox.status, mood: 'good' }, more: {} };
    expect(parseSandbox(newer)).toEqual({ ok: true, value: { ...sandbox, metadata } });
  });

  it('whose spec can not be read names the field and keeps what deleting it needs', () => {
    const unreadable = { ...sandbox, spec: { ...sandbox.spec, desiredState: 'Asleep', env: [{ name: 1 }] } };
    expect(parseSandbox(unreadable)).toEqual({
      ok: false,
      message: expect.stringMatching(/^spec\.desiredState: .*; spec\.env\[0\]\.name: /) as unknown,
      metadata,
      status: sandbox.status,
    });
  });

  it('whose status can not be read keeps its metadata', () => {
    const result = parseSandbox({ ...sandbox, status: { state: 'Asleep' } });
    expect(result).toEqual({ ok: false, message: expect.stringContaining('status.state') as unknown, metadata });
  });

  it('does not change when it is read', () => {
    const before = structuredClone(sandbox);
    parseSandbox(sandbox);
    expect(sandbox).toEqual(before);
  });

  it('of any shape is never a reason to throw', () => {
    fc.assert(
      fc.property(fc.anything(), fc.anything(), fc.anything(), (spec, status, meta) => {
        for (const raw of [
          spec,
          { spec, status, metadata: meta },
          { ...sandbox, spec },
          { ...sandbox, status },
          { ...sandbox, metadata: meta },
        ]) {
          expect(typeof parseSandbox(raw).ok).toBe('boolean');
          expect(typeof parseRunner(raw).ok).toBe('boolean');
        }
      }),
    );
  });

  it('with anything in its resources is never a reason to throw', () => {
    const amount = fc.oneof(fc.string(), fc.double(), fc.integer(), fc.constantFrom('-1', '1x', '1Gi', ''));
    const amounts = fc.dictionary(fc.constantFrom('cpu', 'memory', 'disk', 'pids'), amount);
    fc.assert(
      fc.property(amounts, amounts, (requests, limits) => {
        const result = parseSandbox({ ...sandbox, spec: { image: 'debian', resources: { requests, limits } } });
        expect(result.ok || result.message.includes('spec.resources')).toBe(true);
      }),
    );
  });
});
