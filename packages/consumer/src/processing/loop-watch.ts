import { type Clock, pause } from '@shardwise/core'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { ConsumerRecord } from './consumer-record.ts'

export interface LoopWatchOptions {
  readonly clock: Clock
  readonly failoverTime: number
  readonly telemetry: Telemetry
  /** How the handler is called in the event. */
  readonly handler: string
  /** What it was called with last. */
  readonly lastRecord: () => ConsumerRecord | undefined
}

/** What blocks for longer than this part of `failoverTime` is told. */
const NOTABLE_SHARE = 0.1
/** How many looks there are in that time. A timer comes late by up to one look's time less than the loop was blocked for. */
const LOOKS = 4

/**
 * Tells when something kept the event loop for so long that leases may be lost: a timer that comes late shows it. Whether leases
 * are lost is not judged here but where they are held.
 */
export async function watchLoop(
  { clock, failoverTime, telemetry, handler, lastRecord }: LoopWatchOptions,
  signal: AbortSignal,
): Promise<void> {
  const notableMs = NOTABLE_SHARE * failoverTime
  const lookMs = notableMs / LOOKS
  for (let dueMs = clock.monotonicMs() + lookMs; await pause(clock, dueMs - clock.monotonicMs(), signal); ) {
    const nowMs = clock.monotonicMs()
    if (nowMs - dueMs > notableMs) {
      const record = lastRecord()
      telemetry.emit({
        type: 'eventLoopBlocked',
        blockedMs: Math.round(nowMs - dueMs),
        handler,
        shardId: record?.shardId,
        partitionKey: record?.partitionKey,
        sequenceNumber: record?.sequenceNumber,
        subSequenceNumber: record?.subSequenceNumber,
      })
    }
    dueMs = nowMs + lookMs
  }
}
