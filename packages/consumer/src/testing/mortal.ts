import type { Clock } from '@shardwise/core'

/** What one process of a test has of the world. From its death on nothing of it goes on: no call is answered, no sleep ends. */
export class Mortal {
  #isDead = false

  get isDead(): boolean {
    return this.#isDead
  }

  die(): void {
    this.#isDead = true
  }

  /** The same clock for as long as it lives. */
  clock(clock: Clock): Clock {
    return {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      sleep: (ms, signal) => this.#whileAlive(() => clock.sleep(ms, signal)),
    }
  }

  /** The same client for as long as it lives. What was sent before is done. */
  client<Client extends { send(...args: never[]): unknown }>(client: Client): Client {
    const send = (...args: never[]): Promise<unknown> => this.#whileAlive(async () => await client.send(...args))
    return { send } as unknown as Client
  }

  /** Returns what settles as the call does, unless it is dead by then. */
  #whileAlive<T>(call: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#isDead) return
      call().then(
        (value) => {
          if (!this.#isDead) resolve(value)
        },
        (error: unknown) => {
          if (!this.#isDead) reject(error)
        },
      )
    })
  }
}
