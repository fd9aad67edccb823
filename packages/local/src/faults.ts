import { checkedRule, type FaultRule, type SubscriptionFault, strikesSubscription } from './fault-rule.ts'
import { internalFailure, limitExceeded, type ServiceError, throughputExceeded } from './service-error.ts'
import type { EntryErrorCode } from './writing.ts'

export type { Fault, FaultRule } from './fault-rule.ts'

/** A fault that is set. */
export interface FaultHandle {
  /** How often it has struck. */
  readonly hits: number
  remove(): void
}

/** What a call is about, as far as rules tell calls apart. */
export interface FaultTarget {
  readonly stream: string | undefined
  /** The shard of each entry of a put; the one shard of another call; none where a call is about no shard. */
  readonly shardIds: readonly string[]
}

/** What the faults do to one call. */
export interface FaultEffect {
  delayMs: number
  /** The connection breaks before anything is done. */
  isReset: boolean
  /** Everything is done, then the connection breaks. */
  isAnswerLost: boolean
  /** What is answered without doing anything. */
  error: ServiceError | undefined
  /** Entries of a PutRecords that fail, by index. */
  readonly failing: Map<number, EntryErrorCode>
}

interface SetFault {
  readonly rule: FaultRule
  hits: number
}

const SUBSCRIBE = 'SubscribeToShard'
const DATA_OPERATIONS = new Set(['PutRecord', 'PutRecords', 'GetRecords', 'GetShardIterator'])

/**
 * What goes wrong on purpose. Every rule that fits a call strikes it, each with its own probability.
 *
 * @example
 * const fault = model.faults.add({ fault: 'throttle', operation: 'PutRecords', probability: 0.1 })
 * fault.hits // how often so far
 * fault.remove()
 */
export class Faults {
  readonly #random: () => number
  readonly #set = new Set<SetFault>()

  constructor(random: () => number) {
    this.#random = random
  }

  /** @throws {TypeError} for a field that is unknown, a value that is out of range, or one that its fault has no use for */
  add(rule: FaultRule): FaultHandle {
    const fault: SetFault = { rule: checkedRule(rule), hits: 0 }
    this.#set.add(fault)
    return {
      get hits() {
        return fault.hits
      },
      remove: () => {
        this.#set.delete(fault)
      },
    }
  }

  clear(): void {
    this.#set.clear()
  }

  /** What happens to a call; what can strike a running subscription spares the call that makes it. The target is only asked for where a rule needs it. */
  strike(operation: string, target: () => FaultTarget): FaultEffect {
    const effect: FaultEffect = {
      delayMs: 0,
      isReset: false,
      isAnswerLost: false,
      error: undefined,
      failing: new Map(),
    }
    if (this.#set.size === 0) return effect
    const { stream, shardIds } = target()
    const isMeant = ({ fault }: FaultRule): boolean =>
      !strikesSubscription(fault) || (fault === 'reset' && operation !== SUBSCRIBE)
    for (const { rule } of this.#striking(operation, stream, shardIds, isMeant)) {
      if (rule.fault === 'delay') effect.delayMs += rule.delayMs ?? 0
      else if (rule.fault === 'reset') effect.isReset = true
      else if (rule.fault === 'lostAnswer') effect.isAnswerLost = true
      else if (rule.fault === 'partialFailure') this.#failSome(rule, shardIds, effect)
      else if (operation === 'PutRecords' && rule.shardId !== undefined) {
        // The other entries are none of that shard's business.
        const code = rule.fault === 'throttle' ? 'ProvisionedThroughputExceededException' : 'InternalFailure'
        for (const index of entriesOf(rule, shardIds)) effect.failing.set(index, code)
      } else effect.error ??= rule.fault === 'throttle' ? throttled(operation) : internalFailure()
    }
    return effect
  }

  /** What happens to a running subscription instead of its next event: of several faults, the one that was set first. */
  strikeSubscription(stream: string, shardId: string): SubscriptionFault | undefined {
    if (this.#set.size === 0) return undefined
    const striking = this.#striking(SUBSCRIBE, stream, [shardId], ({ fault }) => strikesSubscription(fault))
    return striking.map(({ rule }) => rule.fault).find(strikesSubscription)
  }

  #striking(
    operation: string,
    stream: string | undefined,
    shardIds: readonly string[],
    isMeant: (rule: FaultRule) => boolean,
  ): SetFault[] {
    const striking = [...this.#set].filter(
      ({ rule, hits }) =>
        isMeant(rule) &&
        (rule.operation ?? operation) === operation &&
        (rule.stream === undefined || rule.stream === stream) &&
        (rule.shardId === undefined || shardIds.includes(rule.shardId)) &&
        (rule.fault !== 'partialFailure' || operation === 'PutRecords') &&
        hits < (rule.count ?? Number.POSITIVE_INFINITY) &&
        (rule.probability === undefined || this.#random() < rule.probability),
    )
    for (const fault of striking) fault.hits++
    return striking
  }

  /** At random, so many of the entries as the rule's share of them is, and at least one. */
  #failSome(rule: FaultRule, shardIds: readonly string[], { failing }: FaultEffect): void {
    const left = entriesOf(rule, shardIds)
    for (let count = Math.ceil(left.length * (rule.share ?? 0.5)); count > 0; count--) {
      const [index] = left.splice(Math.floor(this.#random() * left.length), 1)
      const code = this.#random() < 0.5 ? 'ProvisionedThroughputExceededException' : 'InternalFailure'
      if (index !== undefined) failing.set(index, code)
    }
  }
}

function entriesOf({ shardId }: FaultRule, shardIds: readonly string[]): number[] {
  return shardIds.flatMap((id, index) => (shardId === undefined || id === shardId ? [index] : []))
}

function throttled(operation: string): ServiceError {
  return DATA_OPERATIONS.has(operation) ? throughputExceeded('Rate exceeded.') : limitExceeded('Rate exceeded.')
}
