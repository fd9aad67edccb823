import type { ServiceName, Weather } from './network.ts'
import type { TableWrite } from './table-requests.ts'

/** In the place of a worker's: whoever leads then. */
export const LEADER_PLACE = 'leader'
/** Any worker. */
export const ANY_WORKER = 'worker'

/** One thing that goes wrong, or changes, at a time. Workers and producers are named by their place, the leader as such. */
export type Fault =
  /**
   * The process dies, when it has sent so many more requests; a new one comes after `restartMs`, with the same name or a new
   * one.
   */
  | {
      readonly kind: 'kill'
      readonly atMs: number
      readonly place: string
      readonly afterSends: number
      readonly restartMs: number
      readonly renamed: boolean
    }
  /** The process leaves in good order; a new one comes after `restartMs`, under a new name unless said otherwise. */
  | {
      readonly kind: 'leave'
      readonly atMs: number
      readonly place: string
      readonly restartMs: number
      readonly keepsName?: boolean
    }
  /**
   * Nothing of the process runs for a while, from when it has sent so many more requests. If the machine is suspended, its
   * monotonic clock stands still, and its timers with it.
   */
  | {
      readonly kind: 'pause'
      readonly isSuspended?: boolean
      readonly atMs: number
      readonly place: string
      readonly afterSends: number
      readonly forMs: number
    }
  /** The process dies right before or after something that it writes to the table, the `nth` of its kind from `atMs` on. */
  | (AtWrite & { readonly kind: 'killAtWrite'; readonly restartMs: number; readonly renamed: boolean })
  /** Nothing of the process runs for a while: what it was about to write goes out afterwards, or its answer comes in then. */
  | (AtWrite & { readonly kind: 'pauseAtWrite'; readonly forMs: number; readonly isSuspended?: boolean })
  /** Somebody sets the machine's wall clock. */
  | { readonly kind: 'clock'; readonly atMs: number; readonly place: string; readonly byMs: number }
  /** No request, or no answer, passes between a process and a service. */
  | {
      readonly kind: 'partition'
      readonly atMs: number
      readonly forMs: number
      readonly place: string
      readonly service: ServiceName
      readonly cut: 'requests' | 'answers'
    }
  | ({
      readonly kind: 'weather'
      readonly atMs: number
      readonly forMs: number
      readonly service: ServiceName
    } & Weather)
  /**
   * A service refuses calls for going too fast, fails inside, or (Kinesis) refuses a part of the records, or an iterator as expired, or
   * answers a read as if the shard had ended there.
   */
  | {
      readonly kind: 'errors'
      readonly atMs: number
      readonly forMs: number
      readonly service: ServiceName
      readonly error: 'throttle' | 'internalError' | 'partialFailure' | 'expiredIterator' | 'falseEnd'
      readonly probability: number
    }
  /** Reads of the lease table, its indexes, and listings of shards are old. */
  | { readonly kind: 'stale'; readonly atMs: number; readonly forMs: number; readonly lagMs: number }
  /** Only the table's index is. */
  | { readonly kind: 'staleIndex'; readonly atMs: number; readonly forMs: number; readonly lagMs: number }
  /** Somebody deletes an item by hand: the lease of an open shard, the leader lock, or a worker's entry. `where` is a place among them. */
  | {
      readonly kind: 'operator'
      readonly atMs: number
      readonly act: 'deleteLease' | 'clearLeader' | 'deleteEntry'
      readonly where: number
    }
  | {
      readonly kind: 'reshard'
      readonly atMs: number
      readonly act: 'split' | 'merge' | 'resize'
      readonly where: number
    }
  /**
   * Subscriptions to some of the shards, those that are open and those that are made: they break, fall silent, end early without a
   * reason, or end with an error, or an event is as if the shard had ended there, each at its next events with this probability.
   */
  | {
      readonly kind: 'subscription'
      readonly atMs: number
      readonly forMs: number
      readonly act: SubscriptionTrouble
      /** Of the shards so many are struck. */
      readonly share: number
      readonly probability: number
    }
  /** Somebody deregisters the application's consumer, or all of them. */
  | { readonly kind: 'deregister'; readonly atMs: number }
  /** What handlers do instead of finishing soon; see {@link HandlerTrouble}. */
  | {
      readonly kind: 'handlers'
      readonly atMs: number
      readonly forMs: number
      readonly act: HandlerTrouble
      readonly probability: number
    }
  /** What keeps dead letters fails, takes long, or doesn't come back. */
  | {
      readonly kind: 'letters'
      readonly atMs: number
      readonly forMs: number
      readonly act: CallbackTrouble
      readonly probability: number
    }
  /** The hooks in the life of a shard do. */
  | {
      readonly kind: 'hooks'
      readonly atMs: number
      readonly forMs: number
      readonly act: CallbackTrouble
      readonly probability: number
    }
  /** A program pauses its consumer, or so many of its shards, and has it go on afterwards; in the midst of a handler or at any time. */
  | {
      readonly kind: 'hold'
      readonly atMs: number
      readonly forMs: number
      readonly place: string
      readonly share: number
      readonly isInHandler: boolean
    }
  /**
   * All workers leave, somebody has the application go on at another place, and they come back: at the oldest record, or behind one that
   * lies at `where` among all. Who does it dies when it has sent so many requests; with 0 it doesn't.
   */
  | {
      readonly kind: 'reset'
      readonly atMs: number
      readonly to: 'TRIM_HORIZON' | 'record'
      readonly where: number
      readonly afterSends: number
    }
  /** Somebody puts aggregates into the stream that are damaged inside. */
  | { readonly kind: 'damaged'; readonly atMs: number; readonly count: number }
  /** Calls of an operation come to nothing for a program that puts. */
  | {
      readonly kind: 'calls'
      readonly atMs: number
      readonly forMs: number
      readonly place: string
      readonly operation: WatchedOperation
      readonly act: CallTrouble
    }
  /** The stream goes over to distributing records by itself, or back to going by their keys. */
  | { readonly kind: 'distribution'; readonly atMs: number; readonly to: Distribution }
  /** From now on the stream takes records of up to another size. */
  | { readonly kind: 'recordSize'; readonly atMs: number; readonly maxRecordKiB: number }

/**
 * - `slow`: takes seconds.
 * - `throw`: throws at once; `reject`: rejects after a while.
 * - `hang`: comes back long afterwards, or when its signal is aborted; `deaf`: doesn't heed that; `swallow`: then returns as if it had succeeded.
 * - `block`: has the whole program stand still for a while.
 */
export type HandlerTrouble = 'slow' | 'throw' | 'reject' | 'hang' | 'deaf' | 'swallow' | 'block'

export type CallbackTrouble = Exclude<HandlerTrouble, 'swallow' | 'block'>

export type SubscriptionTrouble =
  | 'break'
  | 'stall'
  | 'end'
  | 'falseEnd'
  | 'InternalFailureException'
  | 'KMSThrottlingException'
  | 'ResourceInUseException'
  | 'ResourceNotFoundException'

export type WatchedOperation = 'ListShards' | 'DescribeStreamSummary'

/** What a caller meets: it may not call, calls too often, the service fails, or never answers. */
export type CallTrouble = 'denied' | 'throttled' | 'failing' | 'hanging'

export type Distribution = 'AUTO' | 'USER_PARTITION_KEY'

export interface AtWrite {
  readonly atMs: number
  /** Or any worker. */
  readonly place: string
  readonly write: TableWrite
  readonly nth: number
  readonly when: 'before' | 'after'
}

/** One line for a person. */
export function describeFault(fault: Fault): string {
  const { kind, atMs, ...rest } = fault
  const details = Object.entries(rest).map(
    ([name, value]) => `${name} ${typeof value === 'number' ? +value.toFixed(3) : value}`,
  )
  return `at ${(atMs / 1_000).toFixed(1)} s ${kind}: ${details.join(', ')}`
}
