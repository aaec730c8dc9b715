import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { isAbandoned, Ledger, ledgerPath, readLedger, thisProcess } from './ledger.ts';

describe('the ledger of an instance', () => {
  let stateDir: string;
  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'ledger-'));
  });
  afterEach(() => rmSync(stateDir, { recursive: true }));
  const open = () => Ledger.open({ instance: 'x', stateDir, dataDir: stateDir, owner: thisProcess() });

  it('is found again by the next process with its parts and ports', () => {
    const record = { pid: 1, startTime: 2, fingerprint: 'f' };
    open().setPart('etcd', record);
    open().setPort('etcd', 2379);
    expect(open().part('etcd')).toEqual(record);
    expect(open().content.ports).toEqual({ etcd: 2379 });
    open().setPart('etcd', undefined);
    expect(readLedger(stateDir)?.parts).toEqual({});
  });

  it('of another boot names no process', () => {
    open().setPart('etcd', { pid: 1, startTime: 2, fingerprint: 'f' });
    open().setPort('etcd', 2379);
    writeFileSync(ledgerPath(stateDir), JSON.stringify({ ...readLedger(stateDir), bootID: 'earlier' }));
    expect(open().content).toMatchObject({ parts: {}, ports: { etcd: 2379 } });
  });

  it('is abandoned when its owner is gone, never when it is meant to stay', () => {
    const { content } = open();
    const { owner, ...staying } = content;
    expect(isAbandoned(content)).toBe(false);
    expect(isAbandoned({ ...content, owner: { pid: owner?.pid ?? 0, startTime: 1 } })).toBe(true);
    expect(isAbandoned({ ...content, bootID: 'earlier' })).toBe(true);
    expect(isAbandoned(staying)).toBe(false);
  });
});
