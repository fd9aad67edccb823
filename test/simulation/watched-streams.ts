import type { Position } from '@shardwise/records'
import { type KinesisService, SIDE_STREAM, STREAM } from './kinesis-service.ts'
import { LeaseWitness } from './lease-witness.ts'
import type { Plan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import { StoredStream, shardKeyOf } from './stored-stream.ts'
import { StreamWitness } from './stream-witness.ts'
import { isLeaseKey } from './table-requests.ts'
import type { Violation } from './violation.ts'

/** One stream, what is in it, and who looks at what becomes of it. */
export interface WatchedStream {
  readonly name: string
  readonly stored: StoredStream
  readonly witness: StreamWitness
  readonly leaseWitness: LeaseWitness
}

/** Holders look at the clock so often. */
const WAKING_SHARE = 0.1
const WAKING_MS = 10

/** The streams of a run: one or two. */
export class WatchedStreams {
  readonly main: WatchedStream
  /** It is there in any case, even if nobody puts anything into it. */
  readonly side: WatchedStream
  readonly #plan: Plan
  readonly #nowMs: () => number

  constructor(
    plan: Plan,
    nowMs: () => number,
    {
      needsNoLease,
      knownSinceMs,
      mayCheckpoint,
    }: {
      readonly needsNoLease: (stream: string, shardId: string) => boolean
      readonly knownSinceMs: (process: SimulatedProcess, stream: string) => number
      readonly mayCheckpoint: (
        process: SimulatedProcess,
        stream: string,
        shardId: string,
        position: Position,
      ) => boolean
    },
    report: (violation: Violation) => void,
  ) {
    this.#plan = plan
    this.#nowMs = nowMs
    const watched = (name: string, retentionMs: number): WatchedStream => {
      const stored = new StoredStream(retentionMs)
      const reportUnlessGivenUp = (violation: Violation): void => {
        if (name === STREAM || !this.#isSideGivenUp) report(violation)
      }
      const witness = new StreamWitness({
        stored,
        nowMs,
        wakingMs: WAKING_SHARE * plan.failoverTime + WAKING_MS,
        isAlwaysByKey: name === SIDE_STREAM || plan.onDemand !== true,
        // What nobody reads is taken as read in order.
        ordering: name === STREAM || plan.streams !== undefined ? (plan.processing?.ordering ?? 'key') : 'key',
        report: reportUnlessGivenUp,
      })
      const onHandledElsewhere = witness.handledElsewhere.bind(witness)
      const startAtMs = plan.startAtMs ?? 0
      const leaseWitness = new LeaseWitness({
        stored,
        nowMs,
        startAtMs,
        needsNoLease: (shardId) => needsNoLease(name, shardId),
        knownSinceMs: (process) => knownSinceMs(process, name),
        mayCheckpoint: (process, shardId, position) => mayCheckpoint(process, name, shardId, position),
        onHandledElsewhere,
        report,
      })
      return { name, stored, witness, leaseWitness }
    }
    this.main = watched(STREAM, plan.retentionMs)
    // What nobody reads is looked at in the end, as if nothing had expired.
    this.side = watched(SIDE_STREAM, plan.streams === undefined ? Number.POSITIVE_INFINITY : plan.retentionMs)
  }

  /** Those that there are. */
  get all(): readonly WatchedStream[] {
    const { producers, streams } = this.#plan
    const isTwo = streams !== undefined || producers.some(({ sideShare }) => sideShare !== undefined)
    return isTwo ? [this.main, this.side] : [this.main]
  }

  /** Those that the application reads now. */
  get read(): readonly WatchedStream[] {
    return this.isSideRead ? [this.main, this.side] : [this.main]
  }

  get isSideRead(): boolean {
    const { streams } = this.#plan
    if (streams === undefined) return false
    const { addedAtMs = 0, removedAtMs = Number.POSITIVE_INFINITY, backAtMs = Number.POSITIVE_INFINITY } = streams
    const nowMs = this.#nowMs()
    return nowMs >= addedAtMs && (nowMs < removedAtMs || nowMs >= backAtMs)
  }

  /**
   * Its leases are deleted. Who hasn't asked since which streams there are, up to a minute, may make them anew when it comes to lead.
   */
  get #isSideGivenUp(): boolean {
    const { removedAtMs, backAtMs, formerStreamWaitMs = 0 } = this.#plan.streams ?? {}
    return removedAtMs !== undefined && backAtMs === undefined && this.#nowMs() >= removedAtMs + formerStreamWaitMs
  }

  of(name: string): WatchedStream {
    return name === SIDE_STREAM ? this.side : this.main
  }

  sum(figure: (stream: WatchedStream) => number): number {
    return this.all.reduce((total, stream) => total + figure(stream), 0)
  }
}

/** What the application has to read now, and nobody has read to its end. */
export function openShardsOf(kinesis: KinesisService, streams: WatchedStreams): string[] {
  return streams.read.flatMap(({ name }) => kinesis.openShardIds(name).map((shardId) => shardKeyOf(name, shardId)))
}

/** Which shard a lease is of: its key has the stream's account, name and creation time in front, if the application has several. */
export function placeOfLease(leaseKey: string): { readonly stream: string; readonly shardId: string } {
  const parts = leaseKey.split(':')
  return { stream: parts.at(-3) ?? STREAM, shardId: parts.at(-1)! }
}

export function isLeaseOf(leaseKey: string, stream: string, shardId: string): boolean {
  const place = placeOfLease(leaseKey)
  return isLeaseKey(leaseKey) && place.stream === stream && place.shardId === shardId
}
