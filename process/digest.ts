import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** Functions of their argument alone, so that pure code may use them. */

/** The SHA-256 of the UTF-8 text as 64 hexadecimal digits. */
export function sha256Hex(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

/** The CRC-32 of the UTF-8 text as 8 hexadecimal digits. Detects accidents, not forgery. */
export function crc32Hex(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}
