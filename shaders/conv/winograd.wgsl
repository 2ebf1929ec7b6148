// Winograd's transforms along one dimension, `side` being the number of products: values named `to` 0 `tail`, `to` 1 `tail`, ... of
// those named `from` 0 `tail`, ... F(2, 3) takes four, at the points 0, 1, -1 and infinity; F(4, 3) six, at 0, +-sqrt(1/2), +-sqrt(2)
// and infinity, which round less than 0, +-1, +-2. A row of two between padding takes three. The filters' part is in
// src/model/winograd.rs.

// v = B' d:
//   3: B' = [1 1; 0 1; 1 0]
//   4: B' = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]
//   6: B' = [1 0 -5/2 0 1 0; 0 -+r -2 +-r/2 1 0; 0 -+r/2 -1/2 +-r 1 0; 0 1 0 -5/2 0 1],  r = sqrt(2)
//# macro transform_inputs(side, to, from, tail)
//# if side == 3
    let {{ to }}0{{ tail }} = {{ from }}0{{ tail }} + {{ from }}1{{ tail }};
    let {{ to }}1{{ tail }} = {{ from }}1{{ tail }};
    let {{ to }}2{{ tail }} = {{ from }}0{{ tail }};
//# elif side == 4
    let {{ to }}0{{ tail }} = {{ from }}0{{ tail }} - {{ from }}2{{ tail }};
    let {{ to }}1{{ tail }} = {{ from }}1{{ tail }} + {{ from }}2{{ tail }};
    let {{ to }}2{{ tail }} = {{ from }}2{{ tail }} - {{ from }}1{{ tail }};
    let {{ to }}3{{ tail }} = {{ from }}1{{ tail }} - {{ from }}3{{ tail }};
//# else
    let {{ to }}0{{ tail }} = {{ from }}0{{ tail }} - 2.5 * {{ from }}2{{ tail }} + {{ from }}4{{ tail }};
    let {{ to }}even_near{{ tail }} = {{ from }}4{{ tail }} - 2.0 * {{ from }}2{{ tail }};
    let {{ to }}odd_near{{ tail }} = 0.7071067811865476 * {{ from }}3{{ tail }} - 1.4142135623730951 * {{ from }}1{{ tail }};
    let {{ to }}1{{ tail }} = {{ to }}even_near{{ tail }} + {{ to }}odd_near{{ tail }};
    let {{ to }}2{{ tail }} = {{ to }}even_near{{ tail }} - {{ to }}odd_near{{ tail }};
    let {{ to }}even_far{{ tail }} = {{ from }}4{{ tail }} - 0.5 * {{ from }}2{{ tail }};
    let {{ to }}odd_far{{ tail }} = 1.4142135623730951 * {{ from }}3{{ tail }} - 0.7071067811865476 * {{ from }}1{{ tail }};
    let {{ to }}3{{ tail }} = {{ to }}even_far{{ tail }} + {{ to }}odd_far{{ tail }};
    let {{ to }}4{{ tail }} = {{ to }}even_far{{ tail }} - {{ to }}odd_far{{ tail }};
    let {{ to }}5{{ tail }} = {{ from }}1{{ tail }} - 2.5 * {{ from }}3{{ tail }} + {{ from }}5{{ tail }};
//# endif
//# endmacro

// y = A' v:
//   3: A' = [1 1 0; 1 0 1]
//   4: A' = [1 1 1 0; 0 1 -1 -1]
//   6: A' = [1 1 1 1 1 0; 0 r/2 -r/2 r -r 0; 0 1/2 1/2 2 2 0; 0 r/4 -r/4 2r -2r 1]
//# macro transform_products(side, to, from, tail)
//# if side == 3
    let {{ to }}0{{ tail }} = {{ from }}0{{ tail }} + {{ from }}1{{ tail }};
    let {{ to }}1{{ tail }} = {{ from }}0{{ tail }} + {{ from }}2{{ tail }};
//# elif side == 4
    let {{ to }}0{{ tail }} = {{ from }}0{{ tail }} + {{ from }}1{{ tail }} + {{ from }}2{{ tail }};
    let {{ to }}1{{ tail }} = {{ from }}1{{ tail }} - {{ from }}2{{ tail }} - {{ from }}3{{ tail }};
//# else
    let {{ to }}even_near{{ tail }} = {{ from }}1{{ tail }} + {{ from }}2{{ tail }};
    let {{ to }}odd_near{{ tail }} = {{ from }}1{{ tail }} - {{ from }}2{{ tail }};
    let {{ to }}even_far{{ tail }} = {{ from }}3{{ tail }} + {{ from }}4{{ tail }};
    let {{ to }}odd_far{{ tail }} = {{ from }}3{{ tail }} - {{ from }}4{{ tail }};
    let {{ to }}0{{ tail }} = {{ from }}0{{ tail }} + {{ to }}even_near{{ tail }} + {{ to }}even_far{{ tail }};
    let {{ to }}1{{ tail }} = 0.7071067811865476 * {{ to }}odd_near{{ tail }} + 1.4142135623730951 * {{ to }}odd_far{{ tail }};
    let {{ to }}2{{ tail }} = 0.5 * {{ to }}even_near{{ tail }} + 2.0 * {{ to }}even_far{{ tail }};
    let {{ to }}3{{ tail }} = 0.3535533905932738 * {{ to }}odd_near{{ tail }} + 2.8284271247461903 * {{ to }}odd_far{{ tail }}
        + {{ from }}5{{ tail }};
//# endif
//# endmacro
