import type { CpuInfo } from 'node:os'
import { expect, test } from 'vitest'
import { CpuLoad } from './cpu-load.ts'

const machine = (...cores: readonly { busy: number; idle: number }[]): CpuInfo[] =>
  cores.map(({ busy, idle }) => ({
    model: '',
    speed: 0,
    times: { user: busy - 1, nice: 0, sys: 1, irq: 0, idle },
  }))

test('the load is that of all cores since the last sample, in percent', () => {
  let now = machine({ busy: 100, idle: 0 }, { busy: 100, idle: 0 })
  const load = new CpuLoad(() => now)
  now = machine({ busy: 110, idle: 30 }, { busy: 120, idle: 40 })
  expect(load.sample()).toEqual([30])
  now = machine({ busy: 110, idle: 80 }, { busy: 170, idle: 40 })
  expect(load.sample()).toEqual([30, 50])
})

test('where no time has passed there is nothing to tell', () => {
  const load = new CpuLoad(() => machine({ busy: 5, idle: 5 }))
  expect(load.sample()).toEqual([])
})

test('the last ten loads are kept', () => {
  let busy = 0
  const load = new CpuLoad(() => machine({ busy: busy++, idle: 0 }))
  for (let count = 0; count < 20; count++) load.sample()
  expect(load.sample()).toHaveLength(10)
})
