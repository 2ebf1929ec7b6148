use bayeslora::gpu::*;
use std::time::Instant;
fn main() {
    prefer_wide_software_vectors();
    let gpu = Gpu::open(GpuOptions::default()).unwrap();
    let lanes = gpu.subgroup_size().unwrap();
    eprintln!("{} lanes {lanes}", gpu.info().name);
    let env = |n: &str, d: u32| std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let (rows, vecs) = (env("ROWS", 32), env("VECS", 1));
    // name, in hw, cin, cout, k, stride
    let shapes = [("stem",64,4,64,7,2),("l1",16,64,64,3,1),("l2",8,128,128,3,1),("l3.0",8,128,256,3,2),("l3",4,256,256,3,1),("l4.0",4,256,512,3,2),("l4",2,512,512,3,1)];
    let n = env("N", 32);
    for (name,hw,cin,cout,k,s) in shapes {
        let pad = k/2; let o = hw/s;
        let (ci4,co4)=(cin/4,cout/4);
        let xs: Vec<f32> = (0..hw*hw*n*cin).map(|i| (i%17) as f32 - 8.).collect();
        let x = gpu.storage_with("x",&xs);
        let ws: Vec<f32> = (0..k*k*cin*cout).map(|i| (i%13) as f32 - 6.).collect();
        let w = gpu.texture_with("w", co4, k*k*cin, &ws);
        let out = gpu.storage("out",(o*o*n*cout*4) as u64);
        let t0=Instant::now();
        let kern = gpu.kernel("conv/texture", Variables::new(&[("lanes",lanes),("rows",rows),("vecs",vecs),("backward",0),("adapter",0),("affine",0),("gain",0),("residual",0),("relu",0),("mask",0)]));
        let compile=t0.elapsed();
        let mut b = Builder::new(&gpu);
        let (xs,wsl,os)=(b.buffer("x",&x),b.texture("w",&w),b.buffer("o",&out));
        let col_tiles = co4.div_ceil(lanes*vecs); let row_tiles=n.div_ceil(rows);
        let tiles = col_tiles*row_tiles*o*o;
        b.dispatch(Dispatch{label:name.into(),kernel:kern,bind:&[("x",xs),("weight",wsl),("out",os)],params:&[
            ("col_tiles",col_tiles.into()),("row_tiles",row_tiles.into()),("batch",n.into()),("share",1u32.into()),("in_height",hw.into()),("in_width",hw.into()),("in_quads",ci4.into()),("out_width",o.into()),("out_quads",co4.into()),("kernel",k.into()),("stride",s.into()),("pad",pad.into())],
            workgroups: tiles as u64, flops:0});
        let p=b.build().unwrap();
        p.run(); gpu.wait().unwrap();
        let mut best=f64::MAX;
        for _ in 0..5 { let t=Instant::now(); for _ in 0..4 {p.run();} gpu.wait().unwrap(); best=best.min(t.elapsed().as_secs_f64()/4.);}
        let mut taps=0u64; for oy in 0..o as i32 { for ox in 0..o as i32 { for ky in 0..k as i32 { for kx in 0..k as i32 { let (iy,ix)=(oy*s as i32+ky-pad as i32,ox*s as i32+kx-pad as i32); if iy>=0&&ix>=0&&iy<hw as i32&&ix<hw as i32 {taps+=1;}}}}}
        let fl = 2.*taps as f64*n as f64*cin as f64*cout as f64;
        println!("{name:6} {:.2} ms {:.1} GFLOP/s executed, compile {:?}", best*1e3, fl/best/1e9, compile);
    }
}
