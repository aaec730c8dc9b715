import { timestamp } from '../../kube/time.ts';

/** Stored times have whole seconds, as everywhere in Kubernetes. What has happened is rounded down, what is due is rounded up. */

export function pastTime(ms: number): string {
  return timestamp(Math.floor(ms / 1000) * 1000);
}

export function dueTime(ms: number): string {
  return timestamp(Math.ceil(ms / 1000) * 1000);
}

/** Milliseconds since the epoch; undefined for an absent or unreadable time. */
export function timeOf(text: string | undefined): number | undefined {
  const ms = text === undefined ? NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** `4 s`, `2 min`: for messages. */
export function duration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
