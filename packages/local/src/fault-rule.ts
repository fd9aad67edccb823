/** One thing that goes wrong on purpose, and when. */
export interface FaultRule {
  /**
   * - `throttle`: answered as if a limit were exceeded
   * - `internalError`: answered with the service's own failure, status 500
   * - `partialFailure`: some entries of a PutRecords fail
   * - `delay`: answered after `delayMs`
   * - `reset`: the connection breaks before anything is done; a running subscription breaks before its next event
   * - `lostAnswer`: everything is done, then the connection breaks
   *
   * What only a running subscription can suffer, instead of its next event, whether that has records or is a heartbeat:
   *
   * - `stall`: nothing comes any more, not even its end, and the connection stays open
   * - `errorEvent`: it ends with the service's own failure
   * - `earlyEnd`: it ends as it does after its five minutes
   */
  readonly fault: Fault
  /** Default: all. */
  readonly operation?: string
  /** The name of a stream; default: all. */
  readonly stream?: string
  /** Default: all. Of a PutRecords, only the entries that go to this shard are throttled or fail. */
  readonly shardId?: string
  /** How likely a call that fits is struck, above 0 and up to 1. Default 1. */
  readonly probability?: number
  /** How many times it strikes at most. Default: no limit. */
  readonly count?: number
  /** For `delay`, and needed there. */
  readonly delayMs?: number
  /** For `partialFailure`: which part of the entries fail, above 0 and up to 1. Default 0.5. */
  readonly share?: number
}

/** What strikes a subscription when it runs; `reset` strikes other calls too. */
export type SubscriptionFault = 'reset' | 'stall' | 'errorEvent' | 'earlyEnd'
export type Fault = 'throttle' | 'internalError' | 'partialFailure' | 'lostAnswer' | 'delay' | SubscriptionFault

const SUBSCRIPTION_FAULTS: readonly Fault[] = ['reset', 'stall', 'errorEvent', 'earlyEnd'] satisfies SubscriptionFault[]
const FAULTS: readonly Fault[] = [
  'throttle',
  'internalError',
  'partialFailure',
  'lostAnswer',
  'delay',
  ...SUBSCRIPTION_FAULTS,
]

interface Check {
  readonly expected: string
  readonly holds: (value: unknown) => boolean
}

const text: Check = { expected: 'a text', holds: (value) => typeof value === 'string' && value !== '' }
const portion: Check = {
  expected: 'a number above 0 and up to 1',
  holds: (value) => typeof value === 'number' && value > 0 && value <= 1,
}
const CHECKS: Readonly<Record<keyof FaultRule, Check>> = {
  fault: { expected: `one of ${FAULTS.join(', ')}`, holds: (value) => FAULTS.some((fault) => fault === value) },
  operation: text,
  stream: text,
  shardId: text,
  probability: portion,
  count: { expected: 'a whole number of at least 1', holds: (value) => Number.isInteger(value) && Number(value) >= 1 },
  delayMs: {
    expected: 'a number of milliseconds of at least 0',
    holds: (value) => typeof value === 'number' && value >= 0 && Number.isFinite(value),
  },
  share: portion,
}

/** Whether a fault can strike a subscription that runs. */
export function strikesSubscription(fault: Fault): fault is SubscriptionFault {
  return SUBSCRIPTION_FAULTS.includes(fault)
}

/** A copy of a rule without fields that are undefined. @throws {TypeError} that says what was expected */
export function checkedRule(rule: FaultRule): FaultRule {
  if (typeof rule !== 'object' || rule === null) throw new TypeError(`fault: expected a rule, got ${String(rule)}`)
  const given = Object.entries(rule).filter(([, value]) => value !== undefined)
  for (const [field, value] of given) {
    if (!Object.hasOwn(CHECKS, field)) {
      throw new TypeError(`fault: unknown field "${field}"; known fields: ${Object.keys(CHECKS).join(', ')}`)
    }
    const { expected, holds } = CHECKS[field as keyof FaultRule]
    if (!holds(value)) throw new TypeError(`fault: "${field}" must be ${expected}, got ${String(value)}`)
  }
  const checked = Object.fromEntries(given) as unknown as FaultRule
  if (!CHECKS.fault.holds(checked.fault)) {
    throw new TypeError(`fault: "fault" must be ${CHECKS.fault.expected}, got none`)
  }
  checkFit(checked)
  return checked
}

function checkFit({ fault, delayMs, share, operation }: FaultRule): void {
  if ((fault === 'delay') !== (delayMs !== undefined)) {
    throw new TypeError(`fault: "delayMs" belongs to "delay" and to no other, got ${String(delayMs)} for "${fault}"`)
  }
  if (share !== undefined && fault !== 'partialFailure') {
    throw new TypeError(`fault: "share" is for "partialFailure" alone, got ${share} for "${fault}"`)
  }
  if (fault === 'partialFailure' && operation !== undefined && operation !== 'PutRecords') {
    throw new TypeError(`fault: "partialFailure" is for PutRecords alone, got the operation "${operation}"`)
  }
  const isForSubscriptionsAlone = strikesSubscription(fault) && fault !== 'reset'
  if (isForSubscriptionsAlone && operation !== undefined && operation !== 'SubscribeToShard') {
    throw new TypeError(`fault: "${fault}" is for SubscribeToShard alone, got the operation "${operation}"`)
  }
}
