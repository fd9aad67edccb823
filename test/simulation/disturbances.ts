import type { Random } from '@shardwise/core'
import type { CallTrouble, Fault, HandlerTrouble, WatchedOperation } from './faults.ts'
import type { Cut, ServiceName, Weather } from './network.ts'
import { FAIR } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'

type Lasting = Extract<Fault, { readonly forMs: number }>
type Of<Kind extends Lasting['kind']> = Extract<Lasting, { readonly kind: Kind }>

/** The faults that are under way. */
export class Disturbances {
  readonly #active = new Set<Lasting>()

  readonly #nowMs: () => number
  #lastMs = 0

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  begin(fault: Lasting): void {
    this.#active.add(fault)
  }

  end(fault: Lasting): void {
    this.#active.delete(fault)
    this.#lastMs = this.#nowMs()
  }

  /** Since when none is under way; now if any is. */
  get quietSinceMs(): number {
    return this.#active.size > 0 ? this.#nowMs() : this.#lastMs
  }

  endAll(): void {
    this.#active.clear()
  }

  weather(service: ServiceName): Weather {
    return this.#all('weather').reduce<Weather>(
      (worst, weather) =>
        weather.service !== service
          ? worst
          : {
              lost: Math.max(worst.lost, weather.lost),
              answerLost: Math.max(worst.answerLost, weather.answerLost),
              late: Math.max(worst.late, weather.late),
              slowMs: Math.max(worst.slowMs, weather.slowMs),
            },
      FAIR,
    )
  }

  cut(process: SimulatedProcess, service: ServiceName): Cut {
    const partition = this.#all('partition').find(
      (each) => each.service === service && process.name.startsWith(`${each.place}`),
    )
    return partition?.cut ?? 'none'
  }

  /** How probable each kind of refusal is. */
  get dynamodbErrors(): { throttle: number; internalError: number } {
    const worst = { throttle: 0, internalError: 0 }
    for (const { service, error, probability } of this.#all('errors')) {
      if (service === 'dynamodb' && (error === 'throttle' || error === 'internalError')) {
        worst[error] = Math.max(worst[error], probability)
      }
    }
    return worst
  }

  /** What happens to calls of an operation from a process. */
  calls(process: SimulatedProcess, operation: WatchedOperation): CallTrouble | undefined {
    return this.#all('calls').find((each) => each.operation === operation && process.name.startsWith(`${each.place}#`))
      ?.act
  }

  get staleMs(): number {
    return Math.max(0, ...this.#all('stale').map(({ lagMs }) => lagMs))
  }

  /** How far the table's indexes are behind. */
  get staleIndexMs(): number {
    return Math.max(this.staleMs, ...this.#all('staleIndex').map(({ lagMs }) => lagMs))
  }

  /** What a handler, or another callback of a program, does now instead of its work. */
  trouble(kind: 'handlers' | 'letters' | 'hooks', random: Random): HandlerTrouble | undefined {
    for (const fault of this.#active) {
      if (fault.kind !== 'handlers' && fault.kind !== 'letters' && fault.kind !== 'hooks') continue
      if (fault.kind === kind && chance(random, fault.probability)) return fault.act
    }
    return undefined
  }

  #all<Kind extends Lasting['kind']>(kind: Kind): Of<Kind>[] {
    return [...this.#active].filter((fault): fault is Of<Kind> => fault.kind === kind)
  }
}
