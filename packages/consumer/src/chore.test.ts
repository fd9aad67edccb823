import { silentLogger } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { Chore } from './chore.ts'
import { type ConsumerEvent, Telemetry } from './telemetry/telemetry.ts'

test('a chore that fails is told, rests for a minute, and is done again', async () => {
  const clock = new ManualClock()
  const events: ConsumerEvent[] = []
  const telemetry = new Telemetry(silentLogger, (event) => events.push(event), {})
  const chore = new Chore('sweeping', { clock, telemetry })
  let done = 0
  const sweep = async (): Promise<void> => {
    done++
    if (done === 2) throw new Error('no broom')
  }
  await chore.do(sweep)
  await chore.do(sweep)
  expect(events).toEqual([{ type: 'callFailed', doing: 'sweeping', error: new Error('no broom') }])
  await clock.advance(59_999)
  await chore.do(sweep)
  expect(done).toBe(2)
  await clock.advance(1)
  await chore.do(sweep)
  expect([done, events.length]).toEqual([3, 1])
})
