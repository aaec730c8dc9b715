import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { probeProgram } from './probe-program.ts';

it('is a program that ends with status 0 on this machine', () => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-probe-'));
  try {
    const path = join(directory, 'exit');
    writeFileSync(path, probeProgram(process.arch) ?? '', { mode: 0o755 });
    expect(() => execFileSync(path)).not.toThrow();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it.each([
  { architecture: 'x64', machine: 0x3e },
  { architecture: 'arm64', machine: 0xb7 },
])('is an executable for $architecture', ({ architecture, machine }) => {
  const program = probeProgram(architecture) ?? Buffer.alloc(0);
  expect(program.subarray(0, 5)).toEqual(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2]));
  expect(program.readUInt16LE(18)).toBe(machine);
  expect(program.readBigUInt64LE(24)).toBe(0x400000n + 120n);
});

it('is nothing for an architecture that is not supported', () => {
  expect(probeProgram('mips')).toBeUndefined();
});
